"""Instructions of a matrix-vector product and of the vector step that follows it: LINEAR or LSTM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ossicle.compiler.graph import Linear, Lstm, Routine
from ossicle.compiler.passes.allocate import ACCUMULATOR, ACTIVATION, PARAMETER, TABLE, WEIGHT
from ossicle.compiler.plan import Chunk, CompileError, Layer, Place, Plan, Region, Step, Tile
from ossicle.hw.config import GRANULE_BYTES, ROW_PARAMETER_BYTES, WEIGHTS_PER_GROUP, WEIGHTS_PER_WORD
from ossicle.hw.isa import OPCODES, Opcode, Target

STEPS_MAX = (1 << next(f.width for f in OPCODES[Opcode.LSTM].operands if f.name == "steps")) - 1


def parameter_load(plan: Plan, layer: Layer, first: int, steps: int, word: int, op: str = "resident") -> Step:
    """LOAD of the row parameters of `steps` vector steps to a word of the parameter memory."""
    size = plan.config.vector_width * ROW_PARAMETER_BYTES
    place = Place("constants", plan.constant_offsets[layer.name] + first * size)
    operands = {"target": Target.PARAMETER, "length": steps * size // GRANULE_BYTES, "destination": word}
    return Step(Opcode.LOAD, operands, (), (Region(PARAMETER, word, steps),), place, op, layer.name)


def tile_stream(plan: Plan, layer: Layer, index: int, word: int, op: str = "resident") -> Step:
    """STREAM of a tile to a word of the banks."""
    code, words = layer.coded[index], layer.tiles[index].slots * layer.words
    group = plan.tables[layer.table]
    operands = {
        "length": code.granules,
        "set": group.set,
        "destination": word,
        "groups": words * WEIGHTS_PER_WORD // WEIGHTS_PER_GROUP,
    }
    reads, writes = (Region(TABLE, group.set, 1),), (Region(WEIGHT, word, words),)
    return Step(Opcode.STREAM, operands, reads, writes, Place("weights", code.offset), op, layer.name)


class Product:
    """Writes the products of one routine; holds whose turn it is among buffers and accumulators."""

    def __init__(self, plan: Plan, routine: Routine) -> None:
        self.plan, self.routine = plan, routine
        self._weight_turn = self._parameter_turn = self._accumulator_turn = 0

    def steps(self, op: Linear | Lstm) -> list[Step]:
        """Tile by tile, each followed by its part of the vector step, where the vector step's output may be
        written before the last tile has run; else after the last tile."""
        layer, accumulator = self.plan.layers[op.matrix], self._accumulator(self.plan.layers[op.matrix])
        segments, output = self._segments(op), self._output(op)
        late = any(output.overlaps(segment) for segment in segments)
        made: list[Step] = []
        for index, tile in enumerate(layer.tiles):
            made += self._tile(op, layer, index, segments, accumulator)
            if not late:
                made += self._vector(op, layer, tile, output, accumulator)
        if late:
            made += self._vector(op, layer, Tile(0, layer.slots, True), output, accumulator)
        return made

    def _accumulator(self, layer: Layer) -> int:
        """First accumulator: two halves take turns, where the largest layer fits a half."""
        half = self.plan.config.accumulators // 2
        self._accumulator_turn ^= 1
        fits = max(each.slots for each in self.plan.layers.values()) <= half
        return half * self._accumulator_turn if fits else 0

    def _output(self, op: Linear | Lstm) -> Region:
        return self.plan.regions[f"{self.routine.name}/{op.output.name}"]

    def _segments(self, op: Linear | Lstm) -> list[Region]:
        """Where the inputs lie, one region, and the h of an LSTM, in bytes of the activation memory."""
        parts = [self.plan.regions[f"{self.routine.name}/{tensor.name}"] for tensor in op.inputs]
        for before, after in pairwise(parts):
            if before.start + before.size != after.start:
                raise CompileError(f"{op.name}: its inputs do not lie side by side in the activation memory")
        segments = [Region(ACTIVATION, parts[0].start, sum(part.size for part in parts))]
        if isinstance(op, Lstm) and not op.recurrent:
            segments.append(self.plan.previous[f"{self.routine.name}/{op.name}"])
        return segments

    def _tile(
        self, op: Linear | Lstm, layer: Layer, index: int, segments: list[Region], accumulator: int
    ) -> Iterator[Step]:
        fetch, word = self._fetch(op, layer, index)
        yield from fetch
        yield self._mac(op, layer, index, word, segments, accumulator)

    def _fetch(self, op: Linear | Lstm, layer: Layer, index: int) -> tuple[list[Step], int]:
        """The STREAM of a tile that does not stay, and where the tile lies: a held tile at its own place,
        others in the two buffers in turn."""
        tile, word = layer.tiles[index], layer.bank_words[index]
        if tile.resident:
            return [], word
        if not tile.held:
            word = self.plan.weight_buffer_word + self._weight_turn * self.plan.weight_buffer
            self._weight_turn ^= 1
        return [tile_stream(self.plan, layer, index, word, op.name)], word

    def _mac(
        self, op: Linear | Lstm, layer: Layer, index: int, word: int, segments: list[Region],
        accumulator: int, accumulate: bool = False,
    ) -> Step:  # fmt: skip
        """MAC of a tile that lies at `word`."""
        tile = layer.tiles[index]
        operands = {
            "weights": word,
            "rows": tile.slots,
            "words": layer.words,
            "activation": segments[0].start // WEIGHTS_PER_WORD,
            "split": segments[0].size // WEIGHTS_PER_WORD,
            "activation2": segments[1].start // WEIGHTS_PER_WORD if len(segments) > 1 else 0,
            "accumulator": accumulator + tile.first,
            "accumulate": int(accumulate),
        }
        reads = (Region(WEIGHT, word, tile.slots * layer.words), *segments)
        writes = (Region(ACCUMULATOR, accumulator + tile.first, tile.slots),)
        return Step(Opcode.MAC, operands, reads, writes, None, op.name, layer.name)

    def _vector(
        self, op: Linear | Lstm, layer: Layer, tile: Tile, output: Region, accumulator: int
    ) -> Iterator[Step]:
        for chunk in self._chunks(layer, tile):
            load, word = self._parameters(op, layer, chunk)
            yield from load
            yield self._finish(op, layer, chunk, output, accumulator, word)

    def _chunks(self, layer: Layer, tile: Tile) -> Iterator[Chunk]:
        """Vector steps of a tile, as many at once as there are row parameters for."""
        most = STEPS_MAX if layer.parameters_resident else self.plan.parameter_buffer
        return chunks(layer, tile, self._round_steps, most)

    @property
    def _round_steps(self) -> int:
        """Vector steps that take one row of every lane."""
        return self.plan.config.lanes // self.plan.config.vector_width

    def _parameters(self, op: Linear | Lstm, layer: Layer, chunk: Chunk) -> tuple[list[Step], int]:
        """The LOAD of a chunk's row parameters, if they do not stay, and where they lie."""
        if layer.parameters_resident:
            return [], layer.parameter_word + chunk.first
        word = self.plan.parameter_buffer_word + self._parameter_turn * self.plan.parameter_buffer
        self._parameter_turn ^= 1
        return [parameter_load(self.plan, layer, chunk.first, chunk.steps, word, op.name)], word

    def _finish(
        self, op: Linear | Lstm, layer: Layer, chunk: Chunk, output: Region, accumulator: int, word: int
    ) -> Step:
        """LINEAR or LSTM, with row parameters from `word`."""
        slot = accumulator + chunk.first // self._round_steps
        slots = -(-chunk.steps // self._round_steps)
        operands = {"steps": chunk.steps, "accumulator": slot, "parameter": word}
        reads = (Region(ACCUMULATOR, slot, slots), Region(PARAMETER, word, chunk.steps))
        finish = self._lstm if isinstance(op, Lstm) else self._linear
        return finish(op, layer, chunk, output, operands, reads)

    def _lstm(self, op, layer: Layer, chunk: Chunk, output: Region, operands: dict, reads: tuple) -> Step:
        units, cell = self.plan.config.units_per_step, self.plan.regions[f"cell/{op.state}"]
        cells = Region(cell.memory, cell.start + chunk.first, chunk.steps)
        hidden = Region(output.memory, output.start + chunk.first * units, chunk.steps * units)
        operands |= {"source": cells.start, "destination": hidden.start}
        return Step(Opcode.LSTM, operands, (*reads, cells), (cells, hidden), None, op.name, layer.name)

    def _linear(self, op, layer: Layer, chunk: Chunk, output: Region, operands: dict, reads: tuple) -> Step:
        activation = output.memory == ACTIVATION
        unit = self.plan.config.vector_width if activation else 1
        made = Region(output.memory, output.start + chunk.first * unit, chunk.steps * unit)
        target = Target.ACTIVATION if activation else Target.VECTOR
        operands |= {"function": op.function, "target": target, "destination": made.start}
        return Step(Opcode.LINEAR, operands, reads, (made,), None, op.name, layer.name)


def chunks(layer: Layer, tile: Tile, round_steps: int, most: int) -> Iterator[Chunk]:
    """Vector steps of a tile's slots in pieces of `most` at most: whole slots, or parts of one slot."""
    first, end = tile.first * round_steps, min((tile.first + tile.slots) * round_steps, layer.steps)
    whole = most - most % round_steps
    while first < end:
        room = whole or min(most, round_steps - first % round_steps)
        size = min(room, end - first)
        yield Chunk(first, size)
        first += size
