"""Weights without their zeros, and products of them: a quarter of the bytes, where the CPU can spread them.

Of each word, lane after lane, come the bytes that its tag names, with the top bit flipped. Spread, and with
128 for what is missing, they are the weights plus 128: bytes without a sign, which the CPU multiplies by
bytes with one. 128 times the sum of x is too much then.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from ossicle.sim.cycle.jit import I32, SUMS, WORD, data, load, of_vector, splat, uncounted
from ossicle.sim.cycle.queues import SIDE

NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512vbmi2", "avx512vnni"}
AT_ONCE = 4
"""Lanes whose words fill a register."""
WIDE = AT_ONCE * WORD
I1, I8, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(64)
BYTES, BITS = ir.VectorType(I8, WIDE), ir.VectorType(I1, WIDE)
FLIP = -128


def _spreads() -> bool:
    """Whether kernels are compiled for a CPU that spreads bytes and multiplies them."""
    settings = numba.config
    if settings.CPU_NAME or settings.CPU_FEATURES:  # type: ignore[attr-defined]
        return False
    features = llvm.get_host_cpu_features()
    return all(features.get(name) for name in NEEDED)


PACKS = _spreads()


@intrinsic
def squeeze(_typing, packed, end, words, place):
    """Put a word of int8 without its zeros into `packed` from `end` on, WORD bytes with what comes behind;
    returns how many are its own."""

    def generate(context, builder, signature, arguments):
        b, kinds, (packed, end, words, place) = builder, signature.args, arguments
        word = load(b, data(context, b, kinds[2], words, place), WORD)
        kept = b.icmp_unsigned("!=", word, ir.Constant(word.type, None))
        flipped = b.xor(word, ir.Constant(word.type, [FLIP] * WORD))
        kind = ir.FunctionType(word.type, [word.type, word.type, kept.type])
        compress = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.mask.compress.v16i8")
        target = data(context, b, kinds[0], packed, end)
        own = b.call(compress, [flipped, ir.Constant(word.type, None), kept])
        b.store(own, b.bitcast(target, word.type.as_pointer()), align=1)
        return b.zext(b.ctpop(b.bitcast(kept, ir.IntType(WORD))), I64)

    return types.int64(packed, types.int64, words, types.int64), generate


@uncounted
def pack(words, lanes, packed, starts):
    """Pack a stream's words.

    Args:
        words: int8, flat, lane after lane. lanes: a multiple of SIDE.
        packed: uint8, as many as are not zero, and WORD more.
        starts: int32[words of each lane * lanes // SIDE], to be filled: where words of SIDE lanes begin,
            those of the first SIDE lanes first.
    """
    count, end = len(words) // WORD // lanes, 0
    for side in range(lanes // SIDE):
        for n in range(count):
            starts[side * count + n] = end
            for lane in range(side * SIDE, (side + 1) * SIDE):
                end += squeeze(packed, end, words, (lane * count + n) * WORD)


class _Sums:
    """Sums of products of SIDE lanes, word after word, in vector registers.

    Args:
        packed: pointer to the first word's bytes.
    """

    def __init__(self, builder, packed):
        self._builder = b = builder
        self._place = cgutils.alloca_once_value(b, packed)
        self._sums = [cgutils.alloca_once(b, SUMS) for _ in range(SIDE // AT_ONCE)]
        self.clear()
        expand = ir.FunctionType(BYTES, [BYTES, BYTES, BITS])
        self._expand = cgutils.get_or_insert_function(b.module, expand, "llvm.x86.avx512.mask.expand.v64i8")
        multiply = ir.FunctionType(SUMS, [SUMS, SUMS, SUMS])
        self._multiply = cgutils.get_or_insert_function(b.module, multiply, "llvm.x86.avx512.vpdpbusd.512")

    def clear(self) -> None:
        for total in self._sums:
            self._builder.store(ir.Constant(SUMS, None), total)

    def word(self, tags, x) -> None:
        """Add a word of each lane. tags: pointer to their uint16. x: to 16 int8."""
        b, place = self._builder, self._builder.load(self._place)
        again = ir.Constant(ir.VectorType(I32, WIDE), list(range(WORD)) * AT_ONCE)
        own = load(b, x, WORD)
        own = b.bitcast(b.shuffle_vector(own, own, again), SUMS)
        for n, total in enumerate(self._sums):
            bits = b.load(b.bitcast(b.gep(tags, [I64(AT_ONCE * n)]), I64.as_pointer()), align=2)
            missing = ir.Constant(BYTES, [FLIP] * WIDE)
            spread = b.call(self._expand, [load(b, place, WIDE), missing, b.bitcast(bits, BITS)])
            b.store(b.call(self._multiply, [b.load(total), b.bitcast(spread, SUMS), own]), total)
            place = b.gep(place, [b.ctpop(bits)])
        b.store(place, self._place)

    def write(self, target, excess, more) -> None:
        """The sums, less `excess`, to int32[SIDE] from a pointer on; added to what is there if `more`."""
        b, half = self._builder, SIDE // 2
        parts = [b.load(total) for total in self._sums]
        while len(parts) > SIDE // half:  # a lane's parts are neighbours
            parts = [self._halved(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        for n, part in enumerate(parts):
            place = b.bitcast(b.gep(target, [I64(n * half)]), SUMS.as_pointer())
            before = b.select(more, b.load(place, align=4), ir.Constant(SUMS, None))
            b.store(b.add(b.sub(part, splat(b, SUMS, excess)), before), place, align=4)

    def _halved(self, one, other):
        """Sums of neighbours, of two vectors in a row."""
        b, every = self._builder, range(0, 2 * WORD, 2)
        even = b.shuffle_vector(one, other, ir.Constant(SUMS, list(every)))
        return b.add(even, b.shuffle_vector(one, other, ir.Constant(SUMS, [n + 1 for n in every])))


def _total(builder, x, words):
    """The sum of int8[words * 16] from a pointer on."""
    b, total = builder, cgutils.alloca_once_value(builder, ir.Constant(SUMS, None))
    with cgutils.for_range(b, words) as loop:
        own = load(b, b.gep(x, [b.mul(loop.index, I64(WORD))]), WORD)
        b.store(b.add(b.load(total), b.sext(own, SUMS)), total)
    return of_vector(b, "vector.reduce.add", b.load(total), I32)


@intrinsic
def products(_typing, packed, at, tags, first, lanes, x, rows, words, sums, base, more):
    """Sums of products of SIDE lanes.

    Args:
        packed: a stream, WIDE bytes more; `at`: where the tile begins in it. tags: uint16; the lanes' tags of
            the tile's word w begin at first + w * lanes. x: int8[words * 16].
        sums: int32, flat; those of row r go to base + r * lanes on, added to what is there if `more`.
    """

    def generate(context, builder, signature, arguments):
        b, (_, at, _, first, lanes, _, rows, words, _, base, more) = builder, arguments

        def pointer(n, index):
            return data(context, b, signature.args[n], arguments[n], index)

        own, x = _Sums(b, pointer(0, at)), pointer(5, I64(0))
        excess = b.mul(_total(b, x, words), I32(-FLIP))
        place, target = (cgutils.alloca_once_value(b, p) for p in (pointer(2, first), pointer(8, base)))
        more = b.trunc(more, I1)
        with cgutils.for_range(b, rows):
            with cgutils.for_range(b, words) as loop:
                own.word(b.load(place), b.gep(x, [b.mul(loop.index, I64(WORD))]))
                b.store(b.gep(b.load(place), [lanes]), place)
            own.write(b.load(target), excess, more)
            own.clear()
            b.store(b.gep(b.load(target), [lanes]), target)
        return context.get_dummy_value()

    i64 = types.int64
    return types.none(packed, i64, tags, i64, i64, x, i64, i64, sums, i64, i64), generate


@uncounted
def multiply(pool, begin, stride, first, x, accumulators, rows, base, accumulate):
    """The values of a MAC instruction whose tile is packed.

    Args:
        begin, stride: a side's tile begins at starts[begin + side * stride] of the pool.
        first: lane n's tag of the tile's word w is at first + w * lanes + n of the pool's.
        x: int8[words * 16]. accumulators: int32[accumulators, lanes], changed from row `base` on.
    """
    lanes = accumulators.shape[1]
    for side in range(lanes // SIDE):
        at, own = pool.starts[begin + side * stride], side * SIDE
        products(
            pool.packed, at, pool.tags, first + own, lanes, x, rows, len(x) // WORD,
            accumulators.reshape(-1), base * lanes + own, accumulate,
        )  # fmt: skip
