"""Instructions of a chunk: the products of one matrix for all steps of a job, tile by tile.

    each tile of the columns for the inputs        STREAM, then MAC for every step
    each step, each tile of the columns for h      MAC onto those sums, then the tile's part of the LSTM step

A linear layer is the first part alone, each tile followed by its vector steps. Held tiles of the columns for
h are streamed among the others, and stay for the job. Where the accumulators do not hold the sums of all
steps, some steps go through both parts, then the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from ossicle.compiler.graph import Linear, Lstm
from ossicle.compiler.passes.product import Product
from ossicle.compiler.passes.scratch import at_once
from ossicle.compiler.plan import Layer, Step, Tile

AHEAD = 2
"""Tiles for the inputs that come before the first held one: they fill both buffers."""


class Batch(Product):
    """Writes the products of one routine of a plan with chunks, group by group."""

    _top = 0
    """First accumulator after those of the last group."""

    def group(self, ops: Sequence[Linear] | Sequence[Lstm]) -> list[Step]:
        """Ops of one matrix, in the order of time."""
        layer, made = self.plan.layers[ops[0].matrix], []
        held = deque(self._held(ops[0]) if isinstance(ops[0], Lstm) else ())
        for some in _parts(ops, at_once(self.plan, ops[0])):
            places = self._places(layer, some)
            if isinstance(ops[0], Lstm):
                made += self._lstm_layer(layer, some, places, held)
            else:
                made += self._linear_layer(layer, some, places)
        return made

    def _held(self, op: Lstm) -> Iterator[Step]:
        """STREAMs of the tiles that every step of the job uses."""
        recurrent = self.plan.layers[op.recurrent]
        for index, tile in enumerate(recurrent.tiles):
            if tile.held:
                yield from self._fetch(op, recurrent, index)[0]

    def _lstm_layer(
        self, layer: Layer, ops: Sequence[Lstm], places: list[int], held: deque[Step]
    ) -> Iterator[Step]:
        yield from self._inputs(layer, ops, places, held)
        for op, place in zip(ops, places, strict=True):
            yield from self._step(op, layer, self.plan.layers[op.recurrent], place)

    def _places(self, layer: Layer, ops: Sequence) -> list[int]:
        """First accumulator of each op; after those of the group before, where there is room."""
        needed = len(ops) * layer.slots
        if self._top + needed > self.plan.config.accumulators:
            self._top = 0
        start, self._top = self._top, self._top + needed
        return [start + k * layer.slots for k in range(len(ops))]

    def _inputs(
        self, layer: Layer, ops: Sequence[Lstm], places: list[int], held: deque[Step]
    ) -> Iterator[Step]:
        """Every tile for all steps; held tiles of the other matrix come among them, evenly."""
        tiles, waiting = len(layer.tiles), len(held)
        for index in range(tiles):
            yield from self._all(layer, index, ops, places)
            due = waiting if index == tiles - 1 else waiting * index // max(tiles - AHEAD, 1)
            while held and waiting - len(held) < due:
                yield held.popleft()

    def _all(self, layer: Layer, index: int, ops: Sequence, places: list[int]) -> Iterator[Step]:
        """One tile: its STREAM, and a MAC for every step."""
        fetch, word = self._fetch(ops[0], layer, index)
        yield from fetch
        for op, place in zip(ops, places, strict=True):
            yield self._mac(op, layer, index, word, self._segments(op), place)

    def _step(self, op: Lstm, layer: Layer, recurrent: Layer, place: int) -> Iterator[Step]:
        """The products with h of one step, onto its sums, and the vector steps that follow."""
        before, output = self.plan.previous[f"{self.routine.name}/{op.name}"], self._output(op)
        late = output.overlaps(before)
        for index, tile in enumerate(recurrent.tiles):
            word = recurrent.bank_words[index]
            if not (tile.resident or tile.held):
                fetch, word = self._fetch(op, recurrent, index)
                yield from fetch
            yield self._mac(op, recurrent, index, word, [before], place, accumulate=True)
            if not late:
                yield from self._vector(op, layer, tile, output, place)
        if late:
            yield from self._vector(op, layer, Tile(0, layer.slots, True), output, place)

    def _linear_layer(self, layer: Layer, ops: Sequence[Linear], places: list[int]) -> Iterator[Step]:
        for index, tile in enumerate(layer.tiles):
            yield from self._all(layer, index, ops, places)
            for chunk in self._chunks(layer, tile):
                load, word = self._parameters(ops[0], layer, chunk)
                yield from load
                for op, place in zip(ops, places, strict=True):
                    yield self._finish(op, layer, chunk, self._output(op), place, word)


def _parts(ops: Sequence, most: int) -> Iterator[Sequence]:
    """Pieces of `most` ops at most, as even as can be."""
    count = -(-len(ops) // most)
    for k in range(count):
        yield ops[len(ops) * k // count : len(ops) * (k + 1) // count]
