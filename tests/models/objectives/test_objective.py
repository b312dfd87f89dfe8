"""Objectives by name, and the loss of the text."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.loss import transducer_loss  # noqa: E402
from ossicle.models.train import Run  # noqa: E402
from torch.nn import functional  # noqa: E402

QUIET = {"say": lambda line: None}


@pytest.mark.parametrize(
    "table, message",
    [
        ({"kind": "wer"}, "there is no objective 'wer'; use transducer"),
        ({"kind": "transducer", "colour": "x"}, r"\[objective\] of kind transducer: .*colour"),
    ],
)
def test_what_there_is_not_is_said(tiny_recipe, table, message):
    with pytest.raises(ValueError, match=message):
        Run(tiny_recipe(objective=table), **QUIET)


def test_the_default_is_the_transducer_loss_and_a_part_of_ctc(tiny_recipe):
    run = Run(tiny_recipe({"ctc": 0.2, "fast_emit": 0.0}), **QUIET)
    batch = next(iter(run.batches))
    terms = run.objective(run.network, batch)
    logits, ctc = run.network(batch.features, batch.labels, batch.frames, batch.counts)
    text = transducer_loss(logits, batch.labels, batch.frames, batch.counts).mean()
    beside = functional.ctc_loss(
        ctc.log_softmax(2).transpose(0, 1), batch.labels, batch.frames, batch.counts,
        reduction="none", zero_infinity=True,
    ).mean()  # fmt: skip
    torch.testing.assert_close(terms.transducer, text)
    torch.testing.assert_close(terms.total, text + 0.2 * beside)
