"""Soft targets: none to follow where teacher and student agree, and the teacher's text for clips without."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.initial import read_start  # noqa: E402
from ossicle.models.loss import next_labels  # noqa: E402
from ossicle.models.objectives.distill import lattice_divergence, three_classes  # noqa: E402
from ossicle.models.train import Run  # noqa: E402

QUIET = {"say": lambda line: None}
TARGETS, FRAMES, COUNTS = torch.tensor([[1, 2], [3, 0]]), torch.tensor([4, 3]), torch.tensor([2, 1])
ROWS = FRAMES * (COUNTS + 1)


def upcoming():
    return next_labels(TARGETS, FRAMES.tolist(), COUNTS.tolist())


def test_three_classes_are_sums_of_all():
    torch.manual_seed(0)
    logits = torch.randn(2, 6, dtype=torch.float64)
    probability = logits.softmax(1)
    found = three_classes(logits, torch.tensor([4, 0])).exp()
    rest = probability[0, [1, 2, 3, 5]].sum()
    torch.testing.assert_close(found[0], torch.stack([probability[0, 4], probability[0, 0], rest]))
    assert found[1].tolist() == pytest.approx([0, probability[1, 0].item(), 1 - probability[1, 0].item()])


def test_nothing_to_learn_from_an_equal_teacher():
    torch.manual_seed(0)
    logits = torch.randn(int(ROWS.sum()), 6, dtype=torch.float64, requires_grad=True)
    divergence = lattice_divergence(logits, logits.detach(), upcoming(), ROWS)
    assert divergence.tolist() == pytest.approx([0, 0], abs=1e-12)
    divergence.sum().backward()
    assert logits.grad.abs().max() < 1e-12


def test_divergence_is_the_sum_over_the_lattice():
    torch.manual_seed(1)
    student, teacher = torch.randn(2, int(ROWS.sum()), 6, dtype=torch.float64)
    expected, row = [0.0, 0.0], 0
    for b, (steps, count) in enumerate(zip(FRAMES.tolist(), COUNTS.tolist(), strict=True)):
        for _ in range(steps):
            for u in range(count + 1):
                p, q = (logits[row].softmax(0).tolist() for logits in (teacher, student))
                kept = [0, TARGETS[b, u].item()] if u < count else [0]
                pairs = [(p[k], q[k]) for k in kept]
                pairs.append((1 - sum(a for a, _ in pairs), 1 - sum(b for _, b in pairs)))
                expected[b] += sum(a * math.log(a / b) for a, b in pairs)
                row += 1
    assert lattice_divergence(student, teacher, upcoming(), ROWS).tolist() == pytest.approx(expected)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(2)
    student, teacher = torch.randn(2, int(ROWS.sum()), 5, dtype=torch.float64)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: lattice_divergence(s, teacher, upcoming(), ROWS), student)


@pytest.fixture
def taught(tiny_recipe, tmp_path):
    """A trained teacher's recipe, state and checkpoint."""
    run = Run(tiny_recipe({"steps": 3}, run=tmp_path / "teacher"), **QUIET)
    run.train()
    return run.recipe, run.state, run.export("test")


@pytest.mark.parametrize("which", [1, 2])
def test_a_student_of_another_size_learns(tiny_recipe, taught, which):
    smaller = {
        "encoder": [{"hidden": 6, "reduce": 2}],
        "joint": 6,
        "prediction": taught[0].topology["prediction"],
    }
    recipe = tiny_recipe(
        {"rate": 0.02, "warmup": 1, "steps": 12}, topology=smaller, vocabulary=None,
        objective={"kind": "distill", "teacher": str(taught[which]), "weight": 1.0},
    )  # fmt: skip
    run = Run(recipe, **QUIET)
    assert run.tokenizer == read_start(taught[which]).tokenizer
    run.choose_data()
    batch = next(iter(run.batches))
    soft = []
    for _ in range(12):
        terms = run.objective(run.network, batch)
        soft.append(terms.total.item())
        run.update(batch)
    assert soft[-1] < soft[0]


def test_a_student_equal_to_its_teacher_has_the_text_alone_to_learn(tiny_recipe, taught, tmp_path):
    losses = []
    for weight in (0.0, 5.0):
        objective = {"kind": "distill", "teacher": str(taught[1]), "weight": weight}
        recipe = tiny_recipe(initial=taught[1], run=tmp_path / str(weight), objective=objective)
        run = Run(recipe, **QUIET)
        losses.append(run.objective(run.network, next(iter(run.batches))).total.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_text_of_unannotated_clips_is_the_teachers(tiny_recipe, taught, tmp_path, monkeypatch):
    said = iter(["on", "off"] * 100)
    monkeypatch.setattr(
        "ossicle.models.objectives.distill.transcribe", lambda _, clips: [next(said) for _ in clips]
    )
    objective = {"kind": "distill", "teacher": str(taught[2]), "pseudo": 0.0, "weight": 0.0}
    recipe = tiny_recipe({"steps": 2}, objective=objective, vocabulary=None)
    source = recipe.train[0]
    recipe = replace(recipe, train=[source, replace(source, name="heard", unannotated=True)])
    run = Run(recipe, **QUIET)
    (index,) = recipe.run.glob("heard.*.jsonl")
    assert [json.loads(line)["text"] for line in index.read_text().splitlines()[:3]] == ["on", "off", "on"]
    assert all(clip.annotated for clip in run.batches.clips[0])
    assert not any(clip.annotated for clip in run.batches.clips[1])
    batch = run.batches.collate(run.batches.clips[1][:4], np.random.default_rng(0))
    assert run.objective(run.network, batch).total.item() == 0  # neither text nor soft targets count here
    run.train()
    index.write_text(index.read_text().replace('"on"', '"red"'))
    assert (
        "red" in Run(recipe, **QUIET).objective.relabel(recipe.packs / "heard", recipe.run, print).read_text()
    )


def test_unannotated_clips_need_a_teacher(tiny_recipe):
    recipe = tiny_recipe()
    late = replace(recipe.train[0], name="late", unannotated=True)
    with pytest.raises(ValueError, match=r'need \[objective\] of kind "distill"'):
        Run(replace(recipe, train=[*recipe.train, late]), **QUIET)
    with pytest.raises(ValueError, match="no text to make a tokenizer of"):
        Run(replace(recipe, train=[late], run=recipe.run / "other"), **QUIET)


def test_a_teacher_of_another_tokenizer_is_refused(tiny_recipe, taught, untrained_checkpoint):
    objective = {"kind": "distill", "teacher": str(untrained_checkpoint)}
    with pytest.raises(ValueError, match="its tokenizer is not the student's"):
        Run(tiny_recipe(initial=taught[1], objective=objective), **QUIET)
