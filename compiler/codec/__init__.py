"""The weight code: zero masks and values under tANS, D streams out of one bit window.

Source symbols. The weights of a lane's bank are taken in groups of 8: one *mask* symbol (bit i set: weight
i is not zero), then a *value* symbol (two's complement byte) for each bit set, low bit first. For
independent weights this costs their order-0 entropy, and a zero far less than a bit.

Entropy code. tANS (Duda 2013, arXiv:1311.2540) with L = 2^table_log states. Each of the two tables gives
every symbol that occurs a frequency of 1 or more, L in all. States are spread with Collet's step 5/8 L + 3
(FiniteStateEntropy), symbols in ascending order; the occurrences of a symbol are numbered in the order of
their states: occurrence k of a symbol of frequency f has y = f + k, n = table_log - floor(log2 y) bits to
read, and leads to state y * 2^n - L + bits. One state a stream serves both tables.

Bits. Least significant first: bit b of the stream is bit b % 8 of byte b // 8, and the n bits of a symbol
stand low bit first. The streams are interleaved (Giesen 2014, arXiv:1402.3392) in lock step: step 0 reads
the initial state of every stream, stream 0 first; step k reads the bits of symbol k - 1 of every stream
that has one left. Stream d holds lanes d, d + D, ... one after another. Encoders start each stream from
state 0, so that decoders end there. Zero bits fill the last granule of 32 bytes.

Table image. 256 mask frequencies, then 256 value frequencies (index: the byte), uint16 little-endian: 1024
bytes.
"""

from ossicle.compiler.codec.stream import Decoded, decode, encode
from ossicle.compiler.codec.tables import TABLE_BYTES, CodecError, TableSet, entropy_bits

__all__ = ["TABLE_BYTES", "CodecError", "Decoded", "TableSet", "decode", "encode", "entropy_bits"]
