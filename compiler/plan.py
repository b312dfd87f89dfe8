"""Plan: a model on its way from Graph to Program. Each pass returns a copy with more of it decided."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.graph import Graph
from ossicle.hw.config import WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import OPCODES, PREDICATES, Engine, Opcode


class CompileError(ValueError):
    """A model that a configuration cannot hold; one sentence: which memory, what is needed, what there is."""


@dataclass(frozen=True)
class Options:
    """What the user may choose.

    Args:
        slots: slots of each symbol by name; `default_slots` for the others.
        resident: keep weights on the chip where they fit; False streams every layer.
    """

    slots: dict[str, int] = field(
        default_factory=lambda: {"features": 64, "encoded": 64, "predicted": 256, "logits": 64}
    )
    default_slots: int = 16
    resident: bool = True
    fewest_bytes: bool = False
    """Cut what is streamed into the tiles that take the fewest bytes, not the fewest cycles."""
    chunk: int = 1
    """Steps of the encoder that a job takes."""
    residence: Residence | None = None
    """What stays on the chip, of chunks of 2 or more; None lets the compiler choose."""


class Residence(NamedTuple):
    """Shares of the weight memory, in words a lane, of a program with chunks of encoder steps."""

    hold: int
    """Area that recurrent layers use one after another, each for a job: their slots that do not stay."""
    buffer: int
    """Each of the two streaming buffers."""
    recurrent_first: bool
    """Keep recurrent layers first; False: every layer of the encoder gets an equal share."""


class Tile(NamedTuple):
    """Row slots `first` .. `first + slots - 1` of every lane: one MAC instruction, and one STREAM."""

    first: int
    slots: int
    resident: bool
    held: bool = False
    """Streamed once a job to a place of its own, and used by every step of it."""


class Chunk(NamedTuple):
    """Vector steps `first` .. `first + steps - 1`: one LSTM or LINEAR instruction."""

    first: int
    steps: int


class Coded(NamedTuple):
    """A compressed tile in the weights section: offset in bytes, granules."""

    offset: int
    granules: int


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix as the chip holds it: rows in the order the vector unit takes them, padded with zeros.

    Row p of the layout is slot p // lanes of lane `lane[p]`, and element p % vector_width of vector step
    p // vector_width. Lanes and vector_width are powers of two: lanes / vector_width steps use every lane
    once.
    """

    name: str
    rows: int
    columns: int
    """Of the matrix as imported."""
    weight: NDArray[np.int8]
    """[slots * lanes, words * 16]"""
    bias: NDArray[np.int32]
    multiplier: NDArray[np.uint16]
    shift: NDArray[np.uint8]
    slots: int
    """Rows a lane."""
    words: int
    """Words of 16 columns a row."""
    steps: int
    """Vector steps that make outputs; of a recurrent layer 0: those of the layer that it is added to."""
    calls: float
    """Uses for each job of the encoder."""
    recurrent_of: str = ""
    """The layer whose lanes and accumulators it shares: its rows are that one's, its columns those of h."""
    resident_slots: int = 0
    held_slots: int = 0
    """Slots that are streamed once a job, and stay for it."""
    tiles: tuple[Tile, ...] = ()
    lane: NDArray[np.int64] | None = None
    table: int = 0
    """Index into Plan.tables."""
    coded: tuple[Coded, ...] = ()
    """Of each tile."""
    parameters_resident: bool = True
    parameter_word: int = 0
    """First word of the row parameters in the parameter memory, if resident."""
    bank_words: tuple[int, ...] = ()
    """First word of each tile in the banks; of a tile that is streamed through the buffers, 0."""

    def bank(self, tile: Tile) -> NDArray[np.int8]:
        """[lanes, slots * words * 16]: a tile as it lies in each lane's bank."""
        assert self.lane is not None, "rows have no lanes yet"
        lanes = len(self.weight) // self.slots
        rows = slice(tile.first * lanes, (tile.first + tile.slots) * lanes)
        by_slot = self.weight[rows].reshape(tile.slots, lanes, -1)
        made = np.empty_like(by_slot)
        lane = self.lane[rows].reshape(tile.slots, lanes)
        np.put_along_axis(made, lane[..., None], by_slot, axis=1)
        return made.transpose(1, 0, 2).reshape(lanes, tile.slots * self.words * WEIGHTS_PER_WORD)

    def __str__(self) -> str:
        tiles = " ".join(
            f"{'r' if t.resident else 'h' if t.held else 's'}{t.first}+{t.slots}" for t in self.tiles
        )
        size = sum(c.granules for c in self.coded) * 32
        return (
            f"layer {self.name} [{self.rows} x {self.columns}]: {self.slots} slots x {self.words} words, "
            f"{self.steps} steps, {self.calls:g} calls, table {self.table}, {size} bytes, tiles {tiles}"
        )


@dataclass(frozen=True)
class TableGroup:
    """Layers that share one pair of decoding tables."""

    layers: tuple[str, ...]
    set: int
    lasting: bool
    """Stays in its set after `prepare`: some layer is streamed."""
    content: bytes = b""
    """As TABLE reads it, whole granules."""
    offset: int = 0
    """In the weights section, bytes."""


class Region(NamedTuple):
    """Part of a memory that an instruction reads or writes, in the memory's own unit."""

    memory: str
    start: int
    size: int

    def overlaps(self, other: Region) -> bool:
        return (
            self.memory == other.memory
            and self.start < other.start + other.size
            and other.start < self.start + self.size
        )


def memory_sizes(config: NpuConfig) -> dict[str, int]:
    """Units of each memory that a Region names."""
    return {
        "weight": config.weight_words,
        "activation": config.activation_words * WEIGHTS_PER_WORD,
        "vector": config.vector_words,
        "parameter": config.parameter_words,
        "accumulator": config.accumulators,
        "table": config.table_sets,
        "predicate": PREDICATES,
    }


class Place(NamedTuple):
    """A DRAM address still to be resolved: a section or a symbol, and an offset in bytes."""

    base: str
    offset: int = 0


@dataclass(frozen=True)
class Step:
    """An instruction before its address and tokens are final."""

    opcode: Opcode
    operands: dict[str, int]
    reads: tuple[Region, ...] = ()
    writes: tuple[Region, ...] = ()
    place: Place | None = None
    op: str = ""
    layer: str = ""
    wait: frozenset[Engine] = frozenset()
    signal: frozenset[Engine] = frozenset()

    @property
    def engine(self) -> Engine:
        return OPCODES[self.opcode].engine

    def conflicts(self, other: Step) -> bool:
        """One of the two writes what the other reads or writes."""
        ours, theirs = (*self.reads, *self.writes), (*other.reads, *other.writes)
        return any(a.overlaps(b) for a in self.writes for b in theirs) or any(
            a.overlaps(b) for a in ours for b in other.writes
        )

    def __str__(self) -> str:
        parts = [self.opcode.name.lower(), *(f"{k}={v}" for k, v in self.operands.items())]
        parts += [f"address={self.place.base}+{self.place.offset}"] if self.place else []
        parts += [f"wait={'+'.join(e.name.lower() for e in sorted(self.wait))}"] if self.wait else []
        parts += [f"signal={'+'.join(e.name.lower() for e in sorted(self.signal))}"] if self.signal else []
        return f"{' '.join(parts):<90} ; {self.op} {self.layer}"


@dataclass(frozen=True)
class SymbolPlan:
    """A symbol before it has an address: see program.Symbol."""

    name: str
    dtype: str
    count: int
    slots: int
    stride: int


@dataclass(frozen=True, eq=False)
class Plan:
    graph: Graph
    config: NpuConfig
    options: Options = field(default_factory=Options)
    layers: dict[str, Layer] = field(default_factory=dict)
    weight_buffer: int = 0
    """Words a lane of each of the two streaming buffers; 0: nothing is streamed."""
    weight_buffer_word: int = 0
    """First word of the first buffer; the second follows it."""
    hold: int = 0
    """Words a lane of the area between resident tiles and buffers that layers use in turn, each for a job."""
    parameter_buffer: int = 0
    """Words of each of the two buffers of row parameters; 0: all of them stay on the chip."""
    parameter_buffer_word: int = 0
    tables: tuple[TableGroup, ...] = ()
    weights: bytes = b""
    """The weights section: tables and compressed tiles."""
    constants: bytes = b""
    """The constants section: zero block, row parameters, embedding tables."""
    constant_offsets: dict[str, int] = field(default_factory=dict)
    """'zeros', layers (row parameters) and embedding tables: offset in the constants section, bytes."""
    regions: dict[str, Region] = field(default_factory=dict)
    """Where tensors ('routine/tensor') and states lie on the chip: 'hidden/state/place', 'cell/state', and
    all of a part's, its prefix before 'hidden' and 'cell'."""
    away: frozenset[str] = frozenset()
    """Parts of the graph whose states lie in DRAM between their jobs."""
    previous: dict[str, Region] = field(default_factory=dict)
    """Of each LSTM op ('routine/op'): the h that it reads."""
    symbols: dict[str, SymbolPlan] = field(default_factory=dict)
    routines: dict[str, tuple[Step, ...]] = field(default_factory=dict)

    def update(self, **changes: Any) -> Plan:
        return replace(self, **changes)

    def update_layers(self, **changes: dict[str, Any]) -> Plan:
        """A copy with fields of every layer changed: field name -> {layer name -> value}."""
        made = {
            name: replace(layer, **{key: values[name] for key, values in changes.items() if name in values})
            for name, layer in self.layers.items()
        }
        return replace(self, layers=made)

    def __str__(self) -> str:
        lines = [f"plan {self.graph.name} for {self.config.name}"]
        lines += [f"  {layer}" for layer in self.layers.values()]
        if self.hold:
            lines.append(f"  {self.hold} words held for a job before {self.weight_buffer_word}")
        if self.weight_buffer:
            lines.append(f"  2 weight buffers of {self.weight_buffer} words from {self.weight_buffer_word}")
        if self.parameter_buffer:
            lines.append(f"  2 parameter buffers of {self.parameter_buffer} words")
        lines += [f"  {name}: {r.memory} {r.start}+{r.size}" for name, r in self.regions.items()]
        for name, steps in self.routines.items():
            lines += [f"{name}:", *(f"  {index:4d} {step}" for index, step in enumerate(steps))]
        return "\n".join(lines)
