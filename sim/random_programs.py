"""Random but legal programs, for verification: all engines at work at once, one result whatever the timing.

A program touches an arena in each memory of the chip: it fills all of them, then runs instructions that draw
their operands from them, then stores what can be stored. `sim.random_tokens` places the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ossicle.compiler import codec
from ossicle.compiler.program import Entry, Origin, Program, Symbol, verify
from ossicle.hw import isa
from ossicle.hw.code import Kind
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES, WEIGHTS_PER_GROUP, WEIGHTS_PER_WORD, NpuConfig
from ossicle.hw.isa import Engine, Opcode, Target
from ossicle.sim.functional_chip import ROW
from ossicle.sim.random_tokens import Access, Draft, TokenPlacer

DATA = "data"
ENTRY = "main"
DATA_BYTES = 4096
POOL_BYTES = 2048
"""Random bytes that LOADs of activations and vectors read."""


@dataclass(frozen=True)
class RandomProgram:
    """A program with one entry (`ENTRY`) and one symbol (`DATA`, all of its data).

    Attributes:
        arguments: argument registers of the job.
        data: int8, what the data hold before the job.
    """

    program: Program
    arguments: dict[int, int]
    data: np.ndarray

    def run_on(self, device) -> np.ndarray:
        """Load, run, return the data."""
        device.load(self.program)
        device.write(DATA, self.data)
        device.run(ENTRY, self.arguments)
        return device.read(DATA)


def random_program(rng: np.random.Generator | int, config: NpuConfig, length: int = 60) -> RandomProgram:
    """A program of about `length` instructions beside those that fill and store the arenas.

    Args:
        rng: or a seed.
    """
    rng = np.random.default_rng(rng)
    maker = _Maker(rng, _Pools(rng, config, length))
    maker.fill_chip()
    for _ in range(length):
        maker.any()
    maker.store_chip()
    return maker.finish()


@dataclass(frozen=True)
class Span:
    """Words first .. first + count - 1 of a memory."""

    first: int
    count: int

    def draw(self, rng: np.random.Generator, size: int, multiple: int = 1) -> int:
        """First word of a random piece of `size` words, at a multiple of `multiple`."""
        low, high = -(-self.first // multiple), (self.first + self.count - size) // multiple
        return int(rng.integers(low, high + 1)) * multiple

    @classmethod
    def random(cls, rng: np.random.Generator, words: int, most: int) -> Span:
        """A piece of a memory, often its beginning or end; a multiple of 4 words makes whole granules."""
        count = min(words, most) // 4 * 4
        return cls(int(rng.choice([0, words - count, rng.integers(0, words - count + 1)])), count)


@dataclass(frozen=True)
class _Tile:
    """A STREAM's data: address, granules, groups a lane."""

    address: int
    length: int
    groups: int


@dataclass(frozen=True)
class _Tables:
    """A TABLE's data, and the tiles that it codes; the first is as large as the arena."""

    address: int
    length: int
    tiles: tuple[_Tile, ...]


class _Pools:
    """The image beside the instructions, and the arenas that its parts are made for."""

    def __init__(self, rng: np.random.Generator, config: NpuConfig, length: int):
        self.rng = rng
        self.config = config
        self.weights = Span.random(rng, config.weight_words, 48)
        self.accumulators = Span.random(rng, config.accumulators, 16)
        self.memory = {
            Target.ACTIVATION: Span.random(rng, config.activation_words, 24),
            Target.VECTOR: Span.random(rng, config.vector_words, 24),
            Target.PARAMETER: Span.random(rng, config.parameter_words, 24),
        }
        self.word_bytes = {
            Target.ACTIVATION: WEIGHTS_PER_WORD,
            Target.VECTOR: 2 * config.vector_width,
            Target.PARAMETER: ROW.itemsize * config.vector_width,
        }
        # Room for every instruction that `length` may turn into; the rest stays zero.
        self.code_bytes = (8 * length + 256) * INSTRUCTION_BYTES
        self._content = bytearray()
        self.bytes = self._put(rng.integers(0, 256, POOL_BYTES, np.uint8).tobytes())
        rows = self._random_rows(2 * self.memory[Target.PARAMETER].count)
        self.rows, self.rows_bytes = self._put(rows.tobytes()), rows.nbytes
        self.tables = [self._random_tables() for _ in range(config.table_sets + 1)]
        self.data = self.code_bytes + len(self._content)

    def image(self, code: bytes) -> bytes:
        """The image with these instructions."""
        assert len(code) <= self.code_bytes
        return code + bytes(self.code_bytes - len(code)) + bytes(self._content)

    def _put(self, content: bytes) -> int:
        """Append whole granules; their address."""
        address = self.code_bytes + len(self._content)
        self._content += content + bytes(-len(content) % GRANULE_BYTES)
        return address

    def _random_rows(self, words: int) -> np.ndarray:
        """Row parameters, each row of a step of another lane; most results neither 0 nor saturated."""
        rng, config = self.rng, self.config
        rows = np.zeros((words, config.vector_width), ROW)
        rows["bias"] = rng.integers(-(1 << 31), 1 << 31, rows.shape) >> rng.integers(8, 32, rows.shape)
        rows["multiplier"] = rng.integers(1 << 15, 1 << 16, rows.shape)
        rare = rng.random(rows.shape) < 0.1
        rows["shift"] = np.where(rare, rng.integers(0, 48, rows.shape), rng.integers(16, 24, rows.shape))
        rows["lane"] = [rng.permutation(config.lanes)[: config.vector_width] for _ in range(words)]
        return rows

    def _random_tables(self) -> _Tables:
        rng, config = self.rng, self.config
        sizes = [self.weights.count, *rng.integers(1, self.weights.count // 2, 3).tolist()]
        banks = [self._random_bank(2 * words) for words in sizes]
        kind = Kind(rng.integers(len(Kind)))
        banks = [np.clip(bank, -2, 1) for bank in banks] if kind == Kind.QUADS else banks
        tables = codec.TableSet.from_weights(banks, config.table_log, kind)
        image = tables.to_bytes()
        address, length, tiles = self._put(image), len(image) // GRANULE_BYTES, []
        for bank in banks:
            data = codec.encode(bank, tables, config)
            tiles.append(_Tile(self._put(data), len(data) // GRANULE_BYTES, bank.shape[1]))
        return _Tables(address, length, tuple(tiles))

    def _random_bank(self, groups: int) -> np.ndarray:
        """int8[lanes, groups, 8] of random precision and density."""
        rng, half = self.rng, 1 << int(self.rng.integers(1, 8))
        shape = (self.config.lanes, groups, WEIGHTS_PER_GROUP)
        kept = rng.random(shape) < rng.choice([0.0, 0.05, 0.3, 0.6, 1.0])
        return np.where(kept, rng.integers(-half, half, shape), 0).astype(np.int8)


class _Maker:
    """Draws instructions with what they read and write. Activations count in bytes, the rest in words."""

    def __init__(self, rng: np.random.Generator, pools: _Pools):
        self.rng = rng
        self.pools = pools
        self.config = pools.config
        self.tokens = TokenPlacer()
        self.arguments = {n: int(rng.integers(0, 4)) for n in range(1, isa.ARGUMENTS)}
        self.built: list[_Tables] = []
        """What each table set holds."""
        self._held: list[Draft] | None = None
        """Drafts kept back for a SKIP's block."""

    def any(self) -> None:
        """One instruction of any kind, or a SKIP with its block."""
        kinds = (self.load, self.mac, self.vector, self.store, self.stream, self.skip, self.table)
        # A TABLE takes thousands of cycles and a STREAM hundreds: a few keep the decoder as busy as the rest.
        share = (0.2, 0.2, 0.3, 0.15, 0.06, 0.07, 0.02)
        self.rng.choice(np.array(kinds, object), p=share)()

    def fill_chip(self) -> None:
        """Nothing that is read later is left as the job found it."""
        for target, span in self.pools.memory.items():
            self.load(target, span)
        for number in range(self.config.table_sets):
            self.table(number)
        self.stream(self.built[0].tiles[0], 0)
        self.mac(rows=self.pools.accumulators.count, accumulate=0)

    def store_chip(self) -> None:
        """All that STORE reaches, into the data; the second lies behind the first."""
        at = 0
        for target in (Target.ACTIVATION, Target.VECTOR):
            span = self.pools.memory[target]
            self.store(target, span, at)
            at += span.count * self.pools.word_bytes[target]

    def load(self, target: Target | None = None, piece: Span | None = None) -> None:
        rng, pools = self.rng, self.pools
        target = Target(int(rng.integers(3))) if target is None else target
        piece = piece or self._piece(target)
        size = piece.count * pools.word_bytes[target]
        first, total = pools.bytes, POOL_BYTES
        if target == Target.PARAMETER:
            first, total = pools.rows, pools.rows_bytes
        elif rng.random() < 0.3:
            first, total = pools.data, DATA_BYTES
        # A row parameter begins where one begins in the pool.
        multiple = max(GRANULE_BYTES, pools.word_bytes[target])
        at = Span(0, total).draw(rng, size, multiple)
        reads = [Access("data", at, size)] if first == pools.data else []
        self._emit(
            Opcode.LOAD, reads, [self._memory(target, piece)], target=target, destination=piece.first,
            length=size // GRANULE_BYTES, **self._argument(first + at),
        )

    def store(self, target: Target | None = None, piece: Span | None = None, at: int | None = None) -> None:
        rng, pools = self.rng, self.pools
        target = Target(int(rng.integers(2))) if target is None else target
        piece = piece or self._piece(target)
        size = piece.count * pools.word_bytes[target]
        at = Span(0, DATA_BYTES).draw(rng, size, GRANULE_BYTES) if at is None else at
        self._emit(
            Opcode.STORE, [self._memory(target, piece)], [Access("data", at, size)], target=target,
            source=piece.first, length=size // GRANULE_BYTES, **self._argument(pools.data + at),
        )

    def table(self, number: int | None = None) -> None:
        number = int(self.rng.integers(self.config.table_sets)) if number is None else number
        tables = self.pools.tables[int(self.rng.integers(len(self.pools.tables)))]
        self.built[number : number + 1] = [tables]
        self._emit(Opcode.TABLE, [], [], address=tables.address, length=tables.length, set=number)

    def stream(self, tile: _Tile | None = None, number: int | None = None) -> None:
        rng = self.rng
        number = int(rng.integers(self.config.table_sets)) if number is None else number
        tile = tile or self.built[number].tiles[int(rng.integers(4))]
        first = self.pools.weights.draw(rng, tile.groups // 2)
        self._emit(
            Opcode.STREAM, [], [Access("weight", first, tile.groups // 2)], address=tile.address,
            length=tile.length, set=number, destination=first, groups=tile.groups,
        )

    def mac(self, rows: int | None = None, accumulate: int | None = None) -> None:
        rng, pools, span = self.rng, self.pools, self.pools.memory[Target.ACTIVATION]
        words = int(rng.integers(1, min(6, span.count, pools.weights.count) + 1))
        most = min(pools.accumulators.count, pools.weights.count // words)
        if rows is not None:
            words, most = min(span.count, pools.weights.count // rows), rows
        rows = rows or int(rng.integers(1, most + 1))
        accumulate = int(rng.integers(2)) if accumulate is None else accumulate
        split = int(rng.integers(0, words + 2))
        first = min(split, words)
        weights, accumulator = pools.weights.draw(rng, rows * words), pools.accumulators.draw(rng, rows)
        one, two = span.draw(rng, first), span.draw(rng, words - first)
        sums = Access("accumulator", accumulator, rows)
        reads = [
            Access("weight", weights, rows * words),
            self._memory(Target.ACTIVATION, Span(one, first)),
            self._memory(Target.ACTIVATION, Span(two, words - first)),
        ]
        self._emit(
            Opcode.MAC, [*reads, sums] if accumulate else reads, [sums], weights=weights, rows=rows,
            words=words, activation=one, split=split, activation2=two, accumulator=accumulator,
            accumulate=accumulate,
        )

    def vector(self) -> None:
        """LSTM, LINEAR, ADD or COMPARE."""
        rng = self.rng
        (self._lstm, self._linear, self._add, self._compare)[int(rng.integers(4))]()

    def _lstm(self) -> None:
        units = self.config.units_per_step
        operands, reads = self._requantize()
        source = self._words(Target.VECTOR, operands["steps"])
        destination = self._bytes(operands["steps"] * units, units)
        self._emit(
            Opcode.LSTM, [*reads, source], [source, destination], **operands, source=source.first,
            destination=destination.first,
        )

    def _linear(self) -> None:
        operands, reads = self._requantize()
        target, destination = self._destination(operands["steps"])
        self._emit(Opcode.LINEAR, reads, [destination], **operands, **target, destination=destination.first)

    def _add(self) -> None:
        steps = self._steps()
        one, two = self._words(Target.VECTOR, steps), self._words(Target.VECTOR, steps)
        target, destination = self._destination(steps)
        if target["target"] == Target.VECTOR and self._reads_behind(destination, one, two):
            return
        self._emit(
            Opcode.ADD, [one, two], [destination], steps=steps, source=one.first, source2=two.first, **target,
            destination=destination.first,
        )

    def _compare(self) -> None:
        rng = self.rng
        source = self._words(Target.VECTOR, 1)
        predicate = int(rng.integers(isa.PREDICATES))
        self._emit(
            Opcode.COMPARE, [source], [Access("predicate", predicate, 1)], source=source.first,
            threshold=int(rng.integers(-4096, 4096)) & 0xFFFF, predicate=predicate,
        )

    def skip(self) -> None:
        """SKIP over 0 to 3 instructions of one engine, and one behind them."""
        rng = self.rng
        kind = (self.load, self.store, self.stream, self.mac, self.vector, self.vector)[int(rng.integers(6))]
        self._held = []
        wanted = int(rng.integers(1, 5))
        while len(self._held) < wanted:
            kind()
        (*block, follower), self._held = self._held, None
        predicate = int(rng.integers(isa.PREDICATES))
        operands = {"predicate": predicate, "sense": int(rng.integers(2)), "count": len(block)}
        made = Draft(Opcode.SKIP, operands, [Access("predicate", predicate, 1)], [])
        self.tokens.skip(made, block, follower)

    def finish(self) -> RandomProgram:
        pools, config = self.pools, self.config
        code = [*self.tokens.instructions(), isa.instruction(Opcode.END)]
        code += [isa.instruction(Opcode.END)] * (len(code) % 2)
        image = pools.image(b"".join(isa.encode(made).to_bytes(INSTRUCTION_BYTES, "little") for made in code))
        program = Program(
            config_digest=config.digest(),
            image=image,
            sections={
                "instructions": (0, pools.code_bytes),
                "weights": (pools.code_bytes, 0),
                "constants": (pools.code_bytes, len(image) - pools.code_bytes),
            },
            dram_bytes=len(image) + DATA_BYTES,
            symbols={DATA: Symbol(DATA, pools.data, "int8", DATA_BYTES, 1, DATA_BYTES)},
            entries={ENTRY: Entry(0, len(code))},
            debug={ENTRY: [Origin("", "")] * len(code)},
            meta={"name": "random", "config": config.to_toml()},
        )
        verify(program)
        return RandomProgram(program, self.arguments, self.rng.integers(-128, 128, DATA_BYTES, np.int8))

    # Operands.

    def _emit(self, opcode: Opcode, reads: list[Access], writes: list[Access], **operands: int) -> None:
        draft = Draft(opcode, operands, reads, writes)
        if self._held is not None:
            self._held.append(draft)
            return
        # Now and then a token that nothing needs.
        extra = [Engine(int(self.rng.integers(6)))] if self.rng.random() < 0.1 else []
        self.tokens.place(draft, extra)

    def _argument(self, address: int) -> dict[str, int]:
        """The operands that give this address, with an argument register or without."""
        argument = int(self.rng.integers(isa.ARGUMENTS))
        stride = int(self.rng.integers(0, 8))
        offset = self.arguments.get(argument, 0) * stride * GRANULE_BYTES
        return {"address": address - offset, "argument": argument, "stride": stride}

    def _piece(self, target: Target) -> Span:
        """Some words of an arena that make whole granules."""
        span = self.pools.memory[target]
        unit = max(1, GRANULE_BYTES // self.pools.word_bytes[target])
        count = unit * int(self.rng.integers(1, span.count // unit + 1))
        return Span(span.draw(self.rng, count), count)

    def _memory(self, target: Target, piece: Span) -> Access:
        scale = WEIGHTS_PER_WORD if target == Target.ACTIVATION else 1
        return Access(target.name, piece.first * scale, piece.count * scale)

    def _words(self, target: Target, count: int) -> Access:
        return Access(target.name, self.pools.memory[target].draw(self.rng, count), count)

    def _bytes(self, count: int, multiple: int) -> Access:
        """Bytes of the activation arena."""
        words = self.pools.memory[Target.ACTIVATION]
        span = Span(words.first * WEIGHTS_PER_WORD, words.count * WEIGHTS_PER_WORD)
        return Access(Target.ACTIVATION.name, span.draw(self.rng, count, multiple), count)

    def _steps(self) -> int:
        pools = self.pools
        most = min(pools.accumulators.count, *(span.count for span in pools.memory.values()))
        return int(self.rng.integers(1, most + 1))

    def _requantize(self) -> tuple[dict[str, int], list[Access]]:
        """Operands and reads that LSTM and LINEAR share."""
        steps = self._steps()
        sums = Access("accumulator", self.pools.accumulators.draw(self.rng, steps), steps)
        rows = self._words(Target.PARAMETER, steps)
        return {"steps": steps, "accumulator": sums.first, "parameter": rows.first}, [sums, rows]

    def _destination(self, steps: int) -> tuple[dict[str, int], Access]:
        """Operands function and target, and what a LINEAR or ADD writes."""
        width = self.config.vector_width
        target = Target(int(self.rng.integers(2)))
        operands = {"function": int(self.rng.integers(4)), "target": target}
        if target == Target.VECTOR:
            return operands, self._words(target, steps)
        return operands, self._bytes(steps * width, width)

    @staticmethod
    def _reads_behind(destination: Access, *sources: Access) -> bool:
        """Whether an ADD would read a word that it has written: then its result depends on the pipeline."""
        return any(source.first < destination.first < source.first + source.count for source in sources)
