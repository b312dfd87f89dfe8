"""A corpus of a size that is made in seconds, once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def synthesizers():
    """Skips where a tool of the corpus is missing, and says which."""
    for module in ("scipy", "pyroomacoustics", "threadpoolctl", "soxr"):
        pytest.importorskip(module, reason=f"needs {module} (the extra 'train')")
    from ossicle.models.data import music, voices

    try:
        voices.check_installed()
        music.check_installed()
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def make_tiny(synthesizers):
    """make_tiny(out, workers, seed, ...) -> rows by set."""
    from ossicle.models.data import beds, make

    def made(out: Path, workers: int = 1, **changes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(make, "BATCH", 16)
            patch.setattr(beds, "PIECES", {"noise/music": 1, "test/music": 2})
            patch.setattr(beds, "SECONDS", 2.0)
            sizes = {"hours": 0.001, "dev": 4, "test": 12, "rooms": 2}
            return make.make(make.Corpus(out, **{**sizes, **changes}), workers, quiet=True)

    return made


@pytest.fixture(scope="session")
def tiny(make_tiny, tmp_path_factory):
    """A folder and its rows by set."""
    out = tmp_path_factory.mktemp("corpus") / "tiny"
    return out, make_tiny(out, workers=2)
