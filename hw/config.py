"""NpuConfig: every design parameter of the processor, checked, with presets and TOML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

CONFIG_VERSION = 1

WEIGHTS_PER_WORD = 16
"""Weights in one word of a lane's weight memory; activations in one word of the activation memory."""
WEIGHTS_PER_GROUP = 8
"""Weights that one zero-mask symbol of the code covers."""
GRANULE_BYTES = 32
"""Alignment and unit of length of everything that crosses the bus: one beat of the widest bus."""
INSTRUCTION_BYTES = 16
ROW_PARAMETER_BYTES = 8


class ConfigError(ValueError):
    """A configuration that cannot be built; the message says which parameter and what would do."""


def _power_of_two(low: int, high: int) -> tuple[int, ...]:
    return tuple(1 << n for n in range(low.bit_length() - 1, high.bit_length()))


ALLOWED: dict[str, tuple[int, ...] | range] = {
    "lanes": _power_of_two(4, 256),
    "lookahead": range(2, 17),
    "weight_words": range(16, 65537),
    "accumulators": range(4, 4097),
    "activation_words": range(8, 4097),
    "vector_width": (4, 8, 16),
    "vector_words": range(8, 65537),
    "parameter_words": range(8, 16385),
    "decoder_streams": _power_of_two(1, 64),
    "table_log": range(9, 13),
    "table_sets": (1, 2, 4),
    "bus_bits": _power_of_two(32, 256),
    "burst_beats": _power_of_two(4, 128),
    "outstanding": range(1, 17),
    "queue_depth": range(2, 17),
    "clock_mhz": range(1, 5001),
    "dram_latency": range(0, 1001),
}


@dataclass(frozen=True, kw_only=True)
class NpuConfig:
    """Design parameters of one processor and of the memory it is attached to.

    Raises:
        ConfigError: a value outside its range, or parameters that do not fit together.
    """

    name: str = "custom"
    lanes: int = 32
    """MAC lanes; each issues one product a cycle."""
    lookahead: int = 6
    """Words a lane may hold between its fetch and its multiplier."""
    weight_words: int = 2048
    """Words of 16 weights in each lane's bank of the weight memory."""
    accumulators: int = 512
    """32-bit accumulators a lane."""
    activation_words: int = 256
    """Words of 16 activations (8 bit), one copy in each lane."""
    vector_width: int = 8
    """Elements the vector unit takes a cycle; an LSTM unit takes four."""
    vector_words: int = 1024
    """Words of `vector_width` 16-bit elements: cell states, pre-activations, logits."""
    parameter_words: int = 640
    """Words of `vector_width` row parameters (bias, multiplier, shift, lane)."""
    decoder_streams: int = 16
    """Streams of the weight decoder; each fills lanes / decoder_streams banks."""
    table_log: int = 11
    """log2 of the states of a decoding table."""
    table_sets: int = 2
    """Pairs of decoding tables (zero mask, value) held at once."""
    bus_bits: int = 64
    """Width of the AXI4 data bus."""
    burst_beats: int = 16
    """Longest read burst."""
    outstanding: int = 8
    """Read bursts under way at once."""
    queue_depth: int = 8
    """Instructions waiting in front of each engine."""
    clock_mhz: int = 100
    dram_latency: int = 40
    """Cycles from an accepted read address to its first beat, in the simulated memory."""

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} must be an integer, not {value!r}")
            if value not in allowed:
                raise ConfigError(f"{name} = {value} is not possible; use {_describe(allowed)}")
        if self.decoder_streams > self.lanes:
            raise ConfigError(
                f"decoder_streams = {self.decoder_streams} is more than lanes = {self.lanes}; "
                "a stream fills at least one lane's bank"
            )
        if self.vector_width > self.lanes:
            raise ConfigError(
                f"vector_width = {self.vector_width} is more than lanes = {self.lanes}; "
                "the vector unit takes each element of a step from another lane"
            )
        if self.burst_beats * self.bus_bytes > 4096:
            raise ConfigError(
                f"burst_beats = {self.burst_beats} of {self.bus_bits} bits cross AXI's 4096-byte boundary; "
                f"use {4096 // self.bus_bytes} at most"
            )

    @property
    def bus_bytes(self) -> int:
        return self.bus_bits // 8

    @property
    def beats_per_granule(self) -> int:
        return GRANULE_BYTES // self.bus_bytes

    @property
    def lanes_per_stream(self) -> int:
        return self.lanes // self.decoder_streams

    @property
    def units_per_step(self) -> int:
        """LSTM units the vector unit updates a cycle."""
        return self.vector_width // 4

    @property
    def weight_bytes(self) -> int:
        """Capacity of the weight memory, dense 8-bit weights, all lanes."""
        return self.lanes * self.weight_words * WEIGHTS_PER_WORD

    @property
    def window_bits(self) -> int:
        """Capacity of the decoder's bit window: one step of every stream and two beats, whole beats."""
        step = self.decoder_streams * self.table_log
        return -(-step // self.bus_bits) * self.bus_bits + 2 * self.bus_bits

    def digest(self) -> int:
        """32 bits that name everything a Program image depends on (not the clock, nor the DRAM)."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("name", "clock_mhz", "dram_latency"):
            del values[name]
        text = json.dumps([CONFIG_VERSION, values], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def replace(self, **changes) -> NpuConfig:
        """A copy with some parameters changed, checked again."""
        unknown = set(changes) - {f.name for f in fields(self)}
        if unknown:
            raise ConfigError(
                f"no such parameter: {', '.join(sorted(unknown))}; there are {', '.join(ALLOWED)}"
            )
        return dataclasses.replace(self, **changes)

    def to_toml(self) -> str:
        lines = [f"version = {CONFIG_VERSION}", f'name = "{self.name}"']
        lines += [f"{name} = {getattr(self, name)}" for name in ALLOWED]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> NpuConfig:
        """Read what `to_toml` wrote; `preset = "base"` may stand for the parameters left out."""
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"not TOML: {error}") from None
        version = values.pop("version", CONFIG_VERSION)
        if version != CONFIG_VERSION:
            raise ConfigError(
                f"configuration of version {version}; this Ossicle reads version {CONFIG_VERSION}"
            )
        base = PRESETS.get(values.pop("preset", "base"))
        if base is None:
            raise ConfigError(f"no such preset; there are {', '.join(PRESETS)}")
        values.setdefault("name", "custom")
        return base.replace(**values)

    @classmethod
    def load(cls, name_or_path: str | Path) -> NpuConfig:
        """A preset by name, or a TOML file by path."""
        if str(name_or_path) in PRESETS:
            return PRESETS[str(name_or_path)]
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(f"{name_or_path} is neither a preset ({', '.join(PRESETS)}) nor a TOML file")
        try:
            return cls.from_toml(path.read_text(encoding="utf-8"))
        except (ConfigError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from None


def _describe(allowed: tuple[int, ...] | range) -> str:
    if isinstance(allowed, range):
        return f"{allowed.start} to {allowed.stop - 1}"
    return "one of " + ", ".join(map(str, allowed))


PRESETS: dict[str, NpuConfig] = {
    "small": NpuConfig(
        name="small",
        lanes=8,
        lookahead=4,
        weight_words=512,
        accumulators=256,
        activation_words=128,
        vector_width=4,
        vector_words=1024,
        parameter_words=320,
        decoder_streams=4,
        table_log=10,
        table_sets=1,
        bus_bits=32,
        burst_beats=16,
        outstanding=4,
        queue_depth=4,
        clock_mhz=50,
    ),
    "base": NpuConfig(name="base", decoder_streams=32),
    "large": NpuConfig(
        name="large",
        lanes=128,
        lookahead=8,
        weight_words=2048,
        accumulators=256,
        activation_words=256,
        vector_width=16,
        vector_words=1024,
        parameter_words=512,
        decoder_streams=32,
        table_log=11,
        table_sets=4,
        bus_bits=128,
        burst_beats=16,
        outstanding=8,
        queue_depth=8,
        clock_mhz=400,
        dram_latency=80,
    ),
}
