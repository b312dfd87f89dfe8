"""How functions of the fast model are compiled, and what they say to LLVM without numba's words."""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

uncounted = njit(cache=True, _nrt=False)
"""For functions that make no arrays: without numba's reference counts, two atomic operations for each array
that is passed or sliced, which were most of the model's time."""

WORD = 16
I32 = ir.IntType(32)
PRODUCTS, SUMS = ir.VectorType(I32, WORD), ir.VectorType(I32, WORD // 2)


@intrinsic
def population(_typing, bits):
    """Bits set in an int32."""

    def generate(_context, builder, _signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int32(types.int32), generate


@intrinsic
def dot(_typing, weights, first, x, words):
    """Sum of products, as int32, of so many words of 16 weights, from weight `first` on, and of x.

    Args:
        weights: int8, flat. x: int8 or int16, which is faster, flat.
    Of a loop in Python LLVM makes vectors of 8 products, half a register; in pairs, 16 fill one.
    """

    def generate(context, builder, signature, arguments):
        weights_type, _, x_type, _ = signature.args
        one = context.make_array(weights_type)(context, builder, arguments[0]).data
        two = context.make_array(x_type)(context, builder, arguments[2]).data
        one = builder.gep(one, [arguments[1]])
        sums = cgutils.alloca_once_value(builder, ir.Constant(SUMS, None))

        def word(start, index):
            start = builder.gep(start, [builder.mul(index, index.type(WORD))])
            place = builder.bitcast(start, ir.VectorType(start.type.pointee, WORD).as_pointer())
            return builder.sext(builder.load(place, align=1), PRODUCTS)

        def half(products, first):
            places = ir.Constant(SUMS, list(range(first, WORD, 2)))
            return builder.shuffle_vector(products, products, places)

        with cgutils.for_range(builder, arguments[3]) as loop:
            products = builder.mul(word(one, loop.index), word(two, loop.index))
            pairs = builder.add(half(products, 0), half(products, 1))
            builder.store(builder.add(builder.load(sums), pairs), sums)
        reduce = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(I32, [SUMS]), f"llvm.vector.reduce.add.v{WORD // 2}i32"
        )
        return builder.call(reduce, [builder.load(sums)])

    return types.int32(weights, types.int64, x, types.int64), generate
