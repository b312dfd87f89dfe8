"""The weight code: zero masks and values under tANS, D streams out of one bit window.

Source symbols. The weights of a lane's bank are taken in groups of 8: one *mask* symbol (bit i set: weight
i is not zero), then a *value* symbol (two's complement byte) for each bit set, low bit first. For
independent weights this costs their order-0 entropy, and a zero far less than a bit. That is the kind GROUPS
of `ossicle.hw.code.Kind`. In two others a mask may come in parts; the values of a part follow it, low weight
first, and a weight may come again, or be 0: its last value counts. The eighth part is the last.

SPARSE, masks of 8 as well, but that one of six weights stands for the two others, with another part to
follow.
WORDS, masks of 16 weights, where 8 weights a mask are too few. A part has the nibbles i (high) and j: weight
i alone if i = j; both and no more if i < j; both and another part to follow if i > j; none and no more if it
is 0xF0.
QUADS, 4 weights of -2 to 1 a symbol, the first in the low 2 bits; four make a word. There are no values.

Encoders choose the parts (`parts`): a rare mask takes more of them, and no state of its own.

Entropy code. tANS (Duda 2013, arXiv:1311.2540) with L = 2^table_log states. Each of the two tables gives
every symbol that occurs a frequency of 1 or more, L in all. States are spread with Collet's step 5/8 L + 3
(FiniteStateEntropy), symbols in ascending order; the occurrences of a symbol are numbered in the order of
their states: occurrence k of a symbol of frequency f has y = f + k, n = table_log - floor(log2 y) bits to
read, and leads to state y * 2^n - L + bits. One state a stream serves both tables.

Bits. Least significant first: bit b of the stream is bit b % 8 of byte b // 8, and the n bits of a symbol
stand low bit first. The streams are interleaved (Giesen 2014, arXiv:1402.3392) in lock step: step 0 reads
the initial state of every stream, stream 0 first; step k reads the bits of symbol k - 1 of every stream that
has one left. Stream d holds lanes d, d + D, ... one after another. Encoders start each stream from state 0,
so that decoders end there, and the bits of its last symbol are zeros: they are left out, if that is a value
or a quad, which is known before it is read. Zero bits fill the last granule of 32 bytes.

Table image. A number v is an Exp-Golomb code of order 1: with n = floor(log2(v + 2)), n - 1 zero bits, a
one, the low n bits of v + 2. The image begins with the kind, 4 bits. Then come the mask and the value table,
each as runs: the change of the frequency since the run before (from 0; 0, -1, 1, -2, 2 ... are the numbers
0, 1, 2, 3, 4 ...), then how many symbols have it, less 1. Symbols go by falling magnitude: of a mask its
ones, then the byte (of a word's part: more to follow, two, one, none); of a quad which of its weights are
odd, then which are below zero, the last weight first; of a value its distance from 0, the positive one of
two first, and 0 before all others. The last symbol (no weight, value -1) is in no run: it has what is left
of L. Zero bits fill the last granule of 32 bytes.
"""

from ossicle.compiler.codec.error import CodecError
from ossicle.compiler.codec.image import read_image
from ossicle.compiler.codec.stream import Decoded, decode, encode
from ossicle.compiler.codec.tables import TableSet, entropy_bits

__all__ = ["CodecError", "Decoded", "TableSet", "decode", "encode", "entropy_bits", "read_image"]
