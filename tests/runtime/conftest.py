"""This folder on the path: `import fake_model`; and a compiled program."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def program(tmp_path_factory, untrained_checkpoint) -> Path:
    """The untrained model compiled for `base`, as a file."""
    from ossicle.compiler.api import compile_checkpoint
    from ossicle.hw.config import PRESETS

    path = tmp_path_factory.mktemp("program") / "p.npu"
    compile_checkpoint(untrained_checkpoint, PRESETS["base"]).save(path)
    return path
