"""Music to speak over: random chord progressions as MIDI, played by fluidsynth on a General MIDI font."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16000
FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
TICKS = 96  # a quarter note
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 4), (1, 4, 0, 0), (0, 2, 3, 4))
MAJOR = (0, 2, 4, 5, 7, 9, 11)
HARMONY = (0, 4, 5, 16, 19, 24, 25, 48, 50, 52, 61, 80, 88)  # pianos, organs, guitars, strings, choir, brass
BASS = (32, 33, 34, 38, 43)
LEAD = (11, 21, 22, 40, 42, 56, 65, 71, 73, 78, 81)
KICK, SNARE, HAT = 36, 38, 42
DRUMS = 9  # the channel

Note = tuple[int, int, int, int, int]  # tick, ticks long, channel, key, velocity


def check_installed() -> None:
    """Raise ValueError, one line that says what to install, without fluidsynth and its sound font."""
    absent = [] if shutil.which("fluidsynth") else ["fluidsynth"]
    absent += [] if FONT.exists() else ["fluid-soundfont-gm"]
    if absent:
        raise ValueError(f"no {' and '.join(absent)} here, for music; apt-get install {' '.join(absent)}")


def music(seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A piece at 16 kHz, one channel, of RMS 0.1."""
    tempo = int(rng.integers(66, 150))
    bars = int(np.ceil(seconds * tempo / 240)) + 1
    with tempfile.TemporaryDirectory() as folder:
        score, played = Path(folder, "a.mid"), Path(folder, "a.wav")
        score.write_bytes(midi(compose(bars, rng), _programs(rng), tempo))
        command = ["fluidsynth", "-n", "-i", "-q", "-r", str(RATE), "-g", "0.5", "-F", str(played)]
        subprocess.run([*command, str(FONT), str(score)], check=True, capture_output=True, timeout=300)
        audio = soundfile.read(played, dtype="float32", always_2d=True)[0].mean(axis=1)
    audio = np.resize(audio[: round(seconds * RATE)], round(seconds * RATE))
    return (audio * (0.1 / (np.sqrt(np.mean(audio**2)) + 1e-9))).astype(np.float32)


def compose(bars: int, rng: np.random.Generator) -> list[Note]:
    """Chords, a bass, a lead that wanders over the chord and, mostly, drums."""
    key, drums = int(rng.integers(48, 60)), rng.random() < 0.7
    chords = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    broken, density = rng.random() < 0.5, rng.uniform(0.3, 0.9)
    notes: list[Note] = []
    for bar in range(bars):
        start, degree = bar * 4 * TICKS, chords[bar % len(chords)]
        keys = [key + MAJOR[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4)]
        notes += _chord(keys, start, broken, rng)
        notes += [(start + 2 * half * TICKS, 2 * TICKS, 1, keys[0] - 12, 90) for half in range(2)]
        for eighth in range(8):
            if rng.random() < density:
                pitch = keys[rng.integers(3)] + 12 + int(rng.choice([0, 0, 0, 2, -1]))
                notes.append((start + eighth * TICKS // 2, TICKS // 2, 2, pitch, int(rng.integers(60, 100))))
        if drums:
            notes += [(start + b * TICKS, TICKS // 4, DRUMS, (KICK, SNARE)[b % 2], 95) for b in range(4)]
            notes += [(start + e * TICKS // 2, TICKS // 4, DRUMS, HAT, 60) for e in range(8)]
    return notes


def _chord(keys: list[int], start: int, broken: bool, rng: np.random.Generator) -> list[Note]:
    if not broken:
        return [(start, 4 * TICKS, 0, key, 75) for key in keys]
    order = rng.permutation(8) % 3
    return [(start + e * TICKS // 2, TICKS, 0, keys[step], 75) for e, step in enumerate(order)]


def _programs(rng: np.random.Generator) -> list[int]:
    return [int(rng.choice(choices)) for choices in (HARMONY, BASS, LEAD)]


def midi(notes: list[Note], programs: list[int], tempo: int) -> bytes:
    """A Standard MIDI File of format 0; programs: one a channel from channel 0 on."""
    events = [(0, 0, bytes([0xC0 | channel, program])) for channel, program in enumerate(programs)]
    for tick, length, channel, key, velocity in notes:
        events.append((tick, 2, bytes([0x90 | channel, key, velocity])))
        events.append((tick + length, 1, bytes([0x80 | channel, key, 0])))
    track = b"\x00\xff\x51\x03" + (60_000_000 // tempo).to_bytes(3, "big")
    now = 0
    for tick, _, message in sorted(events):
        track += _variable(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4, "big") + b"\x00\x00\x00\x01" + TICKS.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _variable(value: int) -> bytes:
    """Seven bits a byte, the most significant first, all but the last with the top bit set."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(reversed(parts))
