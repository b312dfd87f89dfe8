"""A recording on several devices: agreement is reported, and a device that differs is found and named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Fault
from ossicle.runtime import cli
from ossicle.runtime.commands import verify as command
from ossicle.runtime.driver import JOINT, LOGITS
from ossicle.runtime.transducer import SearchOptions
from ossicle.runtime.verification import Utterance, verify_utterance
from ossicle.sim.device import DeviceError, DeviceFault, open_device
from ossicle.sim.fast import FastDevice

CONFIG = NpuConfig.load("small")
SPOILED = 3
"""Which of the joint jobs the devices below spoil."""


class Spoiled(FastDevice):
    """Does its work well until a joint job."""

    joints = 0

    def run(self, entry, arguments=None, *, check=True):
        result = super().run(entry, arguments, check=check)
        self.joints += entry == JOINT
        if entry == JOINT and self.joints == SPOILED:
            return self.spoil(result, arguments)
        return result


class WrongWord(Spoiled):
    def spoil(self, result, arguments):
        logits = self.read(LOGITS, arguments[3])
        logits[7] += 1
        self.write(LOGITS, logits, arguments[3])
        return result


class StrayByte(Spoiled):
    """Writes where no job does; the slot is not used again in so short a clip."""

    def spoil(self, result, arguments):
        symbol = self.program.symbols[LOGITS]
        self.write(symbol.at(symbol.slots - 1), b"\x01")
        return result


class LateEvent(Spoiled):
    late = False

    def spoil(self, result, arguments):
        self.late = True
        return result

    def events(self):
        events = super().events()
        if self.late:
            events["cycle"][-1] += 1
            self.late = False
        return events


class Faulty(Spoiled):
    def spoil(self, result, arguments):
        return replace(result, fault=Fault.BUS)


class Hung(Spoiled):
    def spoil(self, result, arguments):
        raise DeviceError("no interrupt in 9 cycles")


@pytest.fixture(scope="module")
def utterance(untrained_checkpoint):
    samples = np.random.default_rng(2).normal(0, 3000, 1600).astype(np.int16)
    program = compile_checkpoint(untrained_checkpoint, CONFIG)
    return Utterance("noise", samples, program, SearchOptions(beam=2))


def told(_engine):
    return lambda done, steps: None


def verified(device, utterance) -> dict:
    found = verify_utterance({"fast": FastDevice(CONFIG), "other": device}, utterance, told)
    return found["comparisons"][0]


def test_functional_and_fast_agree(utterance):
    turns = []

    def begin(engine):
        return lambda done, steps: turns.append((engine, done, steps))

    devices = {name: open_device(name, CONFIG) for name in ("fast", "functional")}
    (found,) = verify_utterance(devices, utterance, begin)["comparisons"]
    assert found["engines"] == ["fast", "functional"]
    assert found["jobs"] > 5
    assert found["words"] > 1000
    assert (found["instructions"], found["cycles"]) == (None, None)
    assert found["value_differences"] == 0
    assert found["first_difference"] is None
    steps = len(turns) // 2
    assert turns == [(name, done, steps) for name in devices for done in range(1, steps + 1)]


def test_each_recording_begins_anew(utterance):
    """The same jobs, prepare with them, whatever the devices ran before."""
    devices = {"fast": FastDevice(CONFIG), "other": FastDevice(CONFIG)}
    once, twice = (verify_utterance(devices, utterance, told) for _ in range(2))
    assert once == twice
    assert once["comparisons"][0]["cycles"] > 0
    assert once["comparisons"][0]["cycle_differences"] == 0


@pytest.mark.parametrize(
    ("device", "kind", "words"),
    [
        (WrongWord, "value", "(joint): word 7 of logits[0] is "),
        (StrayByte, "value", "at the end, word "),
        (LateEvent, "cycle", "(joint): instruction 6 (control end) ends in cycle "),
        (Faulty, "value", "(joint): ends with NONE on fast, BUS on other"),
        (Hung, "value", "other: no interrupt in 9 cycles"),
    ],
)
def test_a_device_that_differs_is_named(utterance, device, kind, words):
    found = verified(device(CONFIG), utterance)
    assert found[f"{kind}_differences"] > 0
    assert words in found["first_difference"]
    if kind == "cycle":
        assert found["value_differences"] == 0
        assert found["cycle_differences"] == 1


def test_a_fault_of_the_first_device_is_an_error(utterance):
    devices = {"fast": Faulty(CONFIG), "other": FastDevice(CONFIG)}
    with pytest.raises(DeviceFault, match="BUS"):
        verify_utterance(devices, utterance, told)


def test_the_command_names_the_recording_and_ends_with_1(monkeypatch, capfd, untrained_checkpoint, noise_wav):
    def opened(engine, config):
        return WrongWord(config) if engine == "functional" else open_device(engine, config)

    monkeypatch.setattr(command, "open_device", opened)
    arguments = ["verify", str(noise_wav), "--engines", "fast,functional", "--npu", "small", "--beam", "2"]
    arguments += ["--model", str(untrained_checkpoint)]
    assert cli.run([*arguments, "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["value_differences"] > 0
    assert found["first_difference"].startswith(f"{noise_wav}: frame ")
    assert cli.run(arguments) == 1
    printed = capfd.readouterr().out.splitlines()
    assert printed[-1] == f"first difference: {found['first_difference']}"
