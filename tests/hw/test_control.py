"""Registers, the life of a job, watchdog, interrupt: the checks are in control_cosim.py."""

import cosim
import pytest
from ossicle.hw.config import PRESETS
from ossicle.hw.control import Control


@pytest.mark.rtl
@pytest.mark.parametrize("name", ["small"])
def test_control(name, tmp_path):
    cosim.run(Control(config=PRESETS[name]), "control_cosim", {"config": name}, tmp_path)
