"""Every notebook runs from a clean kernel, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the notebooks extra")
nbclient = pytest.importorskip("nbclient", reason="needs the notebooks extra")
pytest.importorskip("matplotlib", reason="needs the notebooks extra")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch, untrained_checkpoint, noise_wav):
    """On the shipped model and recording; where there is none, on a model of random weights."""
    from ossicle.runtime.console import Failure
    from ossicle.runtime.programs import default_model, sample_files

    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(path, as_version=4)
    try:
        shipped = default_model() if sample_files() else None
    except Failure:
        shipped = None
    if shipped is None:
        for cell in notebook.cells:
            cell.source = cell.source.replace("= default_model()", f"= Path({str(untrained_checkpoint)!r})")
            cell.source = cell.source.replace("= sample_files()[0]", f"= Path({str(noise_wav)!r})")
    nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": tmp_path}}).execute()
