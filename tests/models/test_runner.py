"""What all training runs share: when they log, save and measure, and that one of several processes writes."""

import json
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs torch (the extra 'train')")
from ossicle.models.runner import LOG, LOG_EVERY, Runner, denormals_flushed, drawn, line, read_log  # noqa: E402


class Counter(Runner):
    """Adds up its steps."""

    total = 0

    def saved(self):
        return {"total": self.total}

    def restored(self, saved):
        self.total = saved["total"]

    def advance(self):
        self.total += self.step + 1
        return 1.0

    def report(self, losses):
        return {"loss": sum(losses)}

    def measures(self):
        return {"sum": self.total}


def counter(folder, steps=120, quiet=False, progress=None):
    plan = SimpleNamespace(steps=steps, save_every=40, evaluate_every=60)
    said = []
    return Counter(folder, plan, said.append, progress, quiet), said


def test_it_logs_saves_and_measures_as_the_schedule_says(tmp_path):
    run, said = counter(tmp_path)
    run.train()
    rows = [json.loads(text) for text in said]
    assert [row["step"] for row in rows if "loss" in row] == [LOG_EVERY, 2 * LOG_EVERY]
    assert all(row["loss"] == LOG_EVERY for row in rows if "loss" in row)
    assert [(row["step"], row["sum"]) for row in rows if "sum" in row] == [(60, 1830), (120, 7260)]
    assert [row["step"] for part in read_log(tmp_path / LOG, "sum") for row in part] == [50, 100, 60, 120]


def test_it_goes_on_from_what_it_saved(tmp_path):
    def stop(done, total):
        if done == 90:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        counter(tmp_path, progress=stop)[0].train()
    again, said = counter(tmp_path)
    again.restore()
    assert (again.step, again.total, said) == (80, 3240, ["going on from step 80"])
    again.train()
    assert again.total == 7260


def test_a_quiet_one_writes_and_says_nothing(tmp_path):
    run, said = counter(tmp_path / "run", quiet=True)
    run.train()
    assert run.total == 7260 and not said and not list((tmp_path / "run").iterdir())


def test_denormals_are_back_after_an_error():
    tiny = torch.tensor(1e-39)
    with pytest.raises(KeyboardInterrupt), denormals_flushed():
        raise KeyboardInterrupt
    assert tiny * 1 != 0


def test_curves_have_gaps_where_a_value_is_missing(tmp_path):
    rows = [{"step": 1, "wer": {"a": 3.0}}, {"step": 2, "wer": {}}]
    with drawn(tmp_path / "c.png", 2) as axes:
        line(axes[0], rows, lambda row: row["wer"].get("a"), "a")
        plotted = axes[0].lines[0].get_ydata()
    assert plotted[0] == 3.0 and plotted[1] != plotted[1]
    assert (tmp_path / "c.png").stat().st_size > 3000
