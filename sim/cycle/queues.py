"""The lanes' queues side by side in vector registers: when the last word of each leaves its window.

Of a loop over lanes in Python LLVM makes vectors too, but each word's goes through memory.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from ossicle.hw.config import ALLOWED
from ossicle.sim.cycle.jit import data, load, of_vector, splat

SIDE = 32
"""Lanes in a vector."""
I16 = ir.IntType(16)
LANES, LONG = ir.VectorType(I16, SIDE), ir.VectorType(ir.IntType(32), SIDE)


class _Queues:
    """SIDE lanes' queues as vectors of int16, for a window of `lookahead` words: `lane_cycles`'s recursion
    in differences, without branches.

    lead: the cycle in which the last word left the window, less the cycle of the last fetch. span: that, less
    the cycle in which the word left that was pushed `lookahead` - 1 before it; gate: the same for the place
    that the next fetch looks at first. recent: the cycles between the last departures, whose sum span is,
    the latest first.

    A push takes the time of its longest chain, from lead and span to the next ones. To shorten it lead is
    held less 1, span and gate less 2, and nothing on it is compared.

    A difference of 31 or more is kept as 31. It comes from a lane that had run dry, so that lead is 1 + the
    word's own products, 17 at most: lead can't reach over such a difference, whatever comes after, and no
    fetch waits for what lies before it. The lanes start with such differences.
    """

    LONGEST = 31

    def __init__(self, builder, lookahead: int):
        self._builder = builder
        apart = self.LONGEST * (lookahead - 1) - 2
        self._lead, self._span, self._gate = (self._variable(n) for n in (-1, apart, apart))
        self._recent = [self._variable(self.LONGEST) for _ in range(lookahead - 1)]
        self.ended, self.products = self._variable(0), self._variable(0)
        """Cycles and products since the last `flush`."""

    def _variable(self, value: int):
        place = cgutils.alloca_once(self._builder, LANES)
        self._builder.store(splat(self._builder, LANES, value), place)
        return place

    def _least(self, one, other):
        return self._builder.select(self._builder.icmp_signed("<", one, other), one, other)

    def _most(self, one, other):
        return self._builder.select(self._builder.icmp_signed(">", one, other), one, other)

    def push(self, tags, last) -> None:
        """One more word of every lane.

        Args:
            tags: of its useful products. last: 1 if it ends the row.
        """
        b, zero, one = self._builder, splat(self._builder, LANES, 0), splat(self._builder, LANES, 1)
        lead, span, gate = (b.load(v) for v in (self._lead, self._span, self._gate))
        recent = [b.load(v) for v in self._recent]
        useful = of_vector(b, "ctpop", tags, LANES)
        pushed = b.icmp_unsigned("!=", b.or_(tags, last), zero)
        taken = self._most(useful, one)
        # The fetch comes one cycle after the last one, or two if the gate was shut (lead > gate), or when a
        # place is free.
        sooner, later = b.sub(lead, one), b.sub(lead, splat(b, LANES, 2))
        lead = self._least(span, self._most(later, self._least(sooner, gate)))
        # The lane goes on at once, or, when it had run dry, two cycles after the fetch.
        after = b.sub(taken, self._least(lead, zero))
        kept = self._least(after, splat(b, LANES, self.LONGEST))
        after = b.select(pushed, after, zero)
        shorter = b.sub(span, recent[-1])
        longer = b.add(shorter, kept)
        b.store(b.select(pushed, b.add(self._most(lead, zero), taken), lead), self._lead)
        b.store(b.select(pushed, longer, span), self._span)
        b.store(b.select(pushed, longer, shorter), self._gate)
        for place, new, old in zip(self._recent, [kept, *recent], recent, strict=False):
            b.store(b.select(pushed, new, old), place)
        b.store(b.add(b.load(self.ended), after), self.ended)
        b.store(b.add(b.load(self.products), useful), self.products)

    def flush(self, variable, place) -> None:
        """Add a variable to int32[SIDE] from a pointer on, and clear it: before a row's sum needs 16 bits."""
        b = self._builder
        place = b.bitcast(place, LONG.as_pointer())
        b.store(b.add(b.load(place, align=4), b.zext(b.load(variable), LONG)), place, align=4)
        b.store(splat(b, LANES, 0), variable)


@intrinsic
def queue(_typing, ended, products, tags, first, lanes, x_tags, rows, words, lookahead):
    """SIDE lanes from `begin` to the end of their last row.

    Args:
        ended, products: int32[SIDE], which are added to: the cycle in which the last word left, from `begin`.
        tags: uint16; the lanes' tags of the tile's word w begin at first + w * lanes.
        x_tags: uint16[words] of the input.
    """

    def generate(context, builder, signature, arguments):
        kinds, (_, _, tags, first, lanes, x_tags, rows, words, lookahead) = signature.args, arguments
        ended, products = (data(context, builder, kinds[n], arguments[n], first.type(0)) for n in (0, 1))
        end = builder.append_basic_block("queued")
        depths = builder.switch(lookahead, end)
        for depth in ALLOWED["lookahead"]:
            block = builder.append_basic_block(f"window{depth}")
            depths.add_case(depth, block)
            builder.position_at_end(block)
            queues, place = _Queues(builder, depth), cgutils.alloca_once(builder, first.type)
            builder.store(first, place)
            with cgutils.for_range(builder, rows):
                with cgutils.for_range(builder, words) as loop:
                    own = load(builder, data(context, builder, kinds[2], tags, builder.load(place)), SIDE)
                    x_tag = builder.load(data(context, builder, kinds[5], x_tags, loop.index))
                    last = builder.icmp_signed("==", builder.add(loop.index, words.type(1)), words)
                    last = splat(builder, LANES, builder.zext(last, I16))
                    queues.push(builder.and_(own, splat(builder, LANES, x_tag)), last)
                    builder.store(builder.add(builder.load(place), lanes), place)
                queues.flush(queues.ended, ended)
                queues.flush(queues.products, products)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    integers = types.int64, types.int64
    return types.none(ended, products, tags, *integers, x_tags, *integers, types.int64), generate
