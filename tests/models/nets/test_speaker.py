"""Loss, trials and rates of the speaker encoder."""

import numpy as np
import pytest
from sounds import SENTENCES, WEIGHTS, espeak

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.export import read_checkpoint  # noqa: E402
from ossicle.models.nets import speaker  # noqa: E402
from ossicle.runtime.frontend import features  # noqa: E402


def test_ge2e_is_its_definition():
    """One similarity after another, as arXiv:1710.10467 writes them."""
    torch.manual_seed(0)
    embedded = torch.nn.functional.normalize(torch.randn(4, 3, 5, dtype=torch.float64), dim=2)
    scale, offset = torch.tensor(7.0, dtype=torch.float64), torch.tensor(-2.0, dtype=torch.float64)
    total = 0.0
    for j in range(4):
        for i in range(3):
            row = []
            for k in range(4):
                kept = [m for m in range(3) if k != j or m != i]
                centroid = embedded[k, kept].mean(0)
                row.append(scale * torch.cosine_similarity(embedded[j, i], centroid, dim=0) + offset)
            total -= torch.log_softmax(torch.stack(row), 0)[j]
    torch.testing.assert_close(speaker.ge2e(embedded, scale, offset), total / 12)


def test_gradient_of_ge2e():
    torch.manual_seed(1)
    embedded = torch.randn(3, 3, 4, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    offset = torch.tensor(-1.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda e, s: speaker.ge2e(e, s, offset), (embedded, scale))


def test_equal_error_rate():
    rate, threshold = speaker.equal_error_rate(np.array([0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.3]))
    assert rate == 0 and 0.3 < threshold <= 0.7
    rng = np.random.default_rng(0)
    rate, threshold = speaker.equal_error_rate(rng.normal(1, 1, 20000), rng.normal(-1, 1, 20000))
    assert rate == pytest.approx(15.87, abs=0.6) and threshold == pytest.approx(0, abs=0.1)


def test_trials_never_test_what_enrolled():
    rng = np.random.default_rng(0)
    centre = speaker.unit(rng.normal(size=(3, 8)))
    names = np.repeat(["a", "b", "c", "d"], [5, 4, 6, 2])
    embedded = speaker.unit(np.vstack([np.repeat(centre, [5, 4, 6], axis=0), rng.normal(size=(2, 8))]))
    cosine, same, owner = speaker.trials(embedded, names, 3)
    assert cosine.shape == (2 + 1 + 3, 3) and owner.tolist() == [0, 0, 1, 2, 2, 2]
    np.testing.assert_allclose(cosine[same], 1)
    assert np.linalg.norm(speaker.enrol(embedded[:3])) == pytest.approx(1)


def test_shipped_speaker_encoder(tmp_path):
    checkpoint = read_checkpoint(WEIGHTS / "speaker.safetensors")
    voices = ("en-us+f3", "en-gb+m5", "en-us+klatt4")
    clips = [features(espeak(text, name, tmp_path), checkpoint.frontend).reshape(-1, 40)
             for name in voices for text in SENTENCES]  # fmt: skip
    embedded = speaker.embed(checkpoint, clips).reshape(3, 3, -1)
    enrolled = np.array([speaker.enrol(own[:2]) for own in embedded])
    assert np.argmax(enrolled @ embedded[:, 2].T, axis=0).tolist() == [0, 1, 2]
