"""How functions of the fast model are compiled, and what they say to LLVM without numba's words."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import njit, typeof, types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

uncounted = njit(cache=True, _nrt=False)
"""For functions that make no arrays: without numba's reference counts, two atomic operations for each array
that is passed or sliced, which were most of the model's time."""

inlined = njit(cache=True, _nrt=False, forceinline=True)
"""For those of them that are called from one place, in each cycle: an array is seven arguments."""


def bound(kernel, *arguments) -> Callable:
    """A kernel to be called with arguments of the types of these, and no others: nothing checks them.

    In a call of the kernel itself numba finds the types of named tuples anew, which takes longer than a short
    job.
    """
    if not isinstance(kernel, Dispatcher):
        return kernel
    kinds = tuple(typeof(argument) for argument in arguments)
    kernel.compile(kinds)
    return kernel.overloads[kinds].entry_point


WORD = 16
DOTS = 4
"""Dot products at once: each waits for its last sum."""
I32 = ir.IntType(32)
PRODUCTS, SUMS = ir.VectorType(I32, 2 * WORD), ir.VectorType(I32, WORD)


def splat(builder, kind, value):
    """A vector of one value, an int or of LLVM."""
    if isinstance(value, int):
        return ir.Constant(kind, [value] * kind.count)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, kind.count), None))


def data(context, builder, kind, array, index):
    """Pointer to an array's element."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def load(builder, place, count):
    """So many elements from a pointer on."""
    kind = ir.VectorType(place.type.pointee, count)
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def of_vector(builder, name, vector, result):
    """A function of LLVM's on a vector."""
    kind = vector.type
    function = ir.FunctionType(result, [kind])
    name = f"llvm.{name}.v{kind.count}i{kind.element.width}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [vector])


@intrinsic
def dots(_typing, weights, first, stride, x, words):
    """Sums of products, as int32, of x and of so many words of 16 weights: DOTS rows, from weight `first` on,
    `stride` apart.

    Args:
        weights: int8, flat. x: int8 or int16, which is faster, flat.
    Of a loop in Python LLVM makes vectors of 8 products; in pairs, as here, 32 fill a register.
    """
    def generate(context, builder, signature, arguments):
        kinds, (_, start, apart, _, words) = signature.args, arguments
        one = data(context, builder, kinds[0], arguments[0], start)
        rows = [builder.gep(one, [builder.mul(apart, apart.type(k))]) for k in range(DOTS)]
        x = data(context, builder, kinds[3], arguments[3], words.type(0))
        sums = [cgutils.alloca_once(builder, SUMS) for _ in rows]
        for total in sums:
            builder.store(ir.Constant(SUMS, None), total)

        def half(products, begin):
            places = ir.Constant(SUMS, list(range(begin, 2 * WORD, 2)))
            return builder.shuffle_vector(products, products, places)

        def whole(place, index, count):
            part = load(builder, builder.gep(place, [index]), count)
            if count == WORD:
                longer = ir.Constant(ir.VectorType(I32, 2 * WORD), list(range(2 * WORD)))
                part = builder.shuffle_vector(part, ir.Constant(part.type, None), longer)
            return builder.sext(part, PRODUCTS)

        def add(index, count):
            own = whole(x, index, count)
            for row, total in zip(rows, sums, strict=True):
                products = builder.mul(whole(row, index, count), own)
                pairs = builder.add(half(products, 0), half(products, 1))
                builder.store(builder.add(builder.load(total), pairs), total)

        with cgutils.for_range(builder, builder.lshr(words, words.type(1))) as loop:
            add(builder.mul(loop.index, loop.index.type(2 * WORD)), 2 * WORD)
        with builder.if_then(builder.trunc(words, ir.IntType(1))):
            add(builder.mul(builder.sub(words, words.type(1)), words.type(WORD)), WORD)
        made = [of_vector(builder, "vector.reduce.add", builder.load(total), I32) for total in sums]
        return context.make_tuple(builder, signature.return_type, made)

    return types.UniTuple(types.int32, DOTS)(weights, types.int64, types.int64, x, types.int64), generate


@intrinsic
def population(_typing, bits):
    """Bits set in an int32."""

    def generate(_context, builder, _signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int32(types.int32), generate


@intrinsic
def tag(_typing, words, place):
    """A word's tag, as uint16: bit i: element place + i of the array is not zero."""

    def generate(context, builder, signature, arguments):
        word = load(builder, data(context, builder, signature.args[0], *arguments), WORD)
        bits = builder.icmp_unsigned("!=", word, ir.Constant(word.type, None))
        return builder.bitcast(bits, ir.IntType(WORD))

    return types.uint16(words, types.int64), generate


@intrinsic
def widen(_typing, target, place, source, first):
    """WORD elements of an int8 array to an int16 array."""

    def generate(context, builder, signature, arguments):
        kinds, (target, place, source, first) = signature.args, arguments
        word = load(builder, data(context, builder, kinds[2], source, first), WORD)
        wide = builder.sext(word, ir.VectorType(ir.IntType(16), WORD))
        target = data(context, builder, kinds[0], target, place)
        builder.store(wide, builder.bitcast(target, wide.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.none(target, types.int64, source, types.int64), generate


@intrinsic
def copy(_typing, target, place, source, first, count):
    """Bytes of an array to another one."""

    def generate(context, builder, signature, arguments):
        kinds, (target, place, source, first, count) = signature.args, arguments
        target = data(context, builder, kinds[0], target, place)
        source = data(context, builder, kinds[2], source, first)
        cgutils.raw_memcpy(builder, target, source, count, 1)
        return context.get_dummy_value()

    return types.none(target, types.int64, source, types.int64, types.int64), generate
