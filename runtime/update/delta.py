"""What a new checkpoint has that an old one has not, and the new one from that: byte for byte.

Sections: `head`, the new file's header, deflated with the old one's as dictionary; `numbers`, all that the
adaptive coder says, tensor after tensor; `rest`, tensors of bytes, deflated with the old ones as dictionary.

A row's scale often changes with its largest weight, and then every integer of it. So a weight is coded given
the old one at the new scale, w s / s', a bias likewise; multiplier and shift follow from the scale where they
are what `quantize_multiplier` makes of it. Float64 products and quotients are IEEE 754: the same anywhere.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.numerics import (
    ACTIVATION_FRACTION,
    LOGIT_FRACTION,
    PREACTIVATION_FRACTION,
    quantize_multiplier,
)
from ossicle.runtime.update.coder import NUMBER_LIMIT, ArrayCoder, CodingError
from ossicle.runtime.update.layout import LayoutError, join, places, split

SECTIONS = ("head", "numbers", "rest")
SAME, WEIGHTS, NUMBERS, DERIVED_PREACTIVATION, DERIVED_LOGIT, BYTES = range(6)
"""How a tensor is coded."""
FRACTIONS = {DERIVED_PREACTIVATION: PREACTIVATION_FRACTION, DERIVED_LOGIT: LOGIT_FRACTION}
MODE_KIND = 3
"""The kind of numbers that modes are; 0 to 2 are `_number_kind`."""
WINDOW = 1 << 15
"""Bytes that a deflated text can refer to."""

Tensors = dict[str, NDArray]
Progress = Callable[[int, int], None]


def make(old: bytes, new: bytes, progress: Progress = lambda done, total: None) -> dict[str, bytes]:
    """The sections that make `new` of `old`.

    Args:
        old: a checkpoint file; b"" where there is none, so that all of `new` is coded.
    Raises:
        LayoutError: a file that is no checkpoint.
    """
    old_head, before = split(old) if old else (b"", {})
    head, tensors = split(new)
    coder, rest = ArrayCoder(), []
    order = _order(tensors)
    for done, name in enumerate(order):
        mode = _mode(name, before, tensors)
        coder.numbers(np.array([mode], np.int64), MODE_KIND)
        if mode == BYTES:
            rest.append(_deflate(tensors[name].tobytes(), _dictionary(name, before)))
        else:
            _code(coder, mode, name, before, tensors, tensors[name])
        progress(done + 1, len(order))
    texts = b"".join(struct.pack("<I", len(text)) + text for text in rest)
    return {"head": _deflate(head, old_head[-WINDOW:]), "numbers": coder.finish(), "rest": texts}


def restore(old: bytes, sections: dict[str, bytes], progress: Progress = lambda done, total: None) -> bytes:
    """The new checkpoint file.

    Raises:
        CodingError: sections that do not fit together, or not this old file.
        LayoutError: an old file that is no checkpoint.
    """
    old_head, before = split(old) if old else (b"", {})
    head = _inflate(sections["head"], old_head[-WINDOW:])
    try:
        found = places(head)
    except LayoutError as error:
        raise CodingError(f"the header of the new model is damaged: {error}") from None
    coder, rest = ArrayCoder(sections["numbers"]), sections["rest"]
    tensors: Tensors = {name: np.zeros(place.shape, place.dtype) for name, place in found.items()}
    order = _order(tensors)
    for done, name in enumerate(order):
        mode = int(coder.numbers(np.zeros(1, np.int64), MODE_KIND)[0])
        if mode == BYTES:
            text, rest = _next_text(rest)
            _fill(tensors, name, _inflate(text, _dictionary(name, before)))
        elif SAME <= mode < BYTES:
            tensors[name] = _code(coder, mode, name, before, tensors, tensors[name])
        else:
            raise CodingError(f"{name} is coded in a way {mode} that there is not")
        progress(done + 1, len(order))
    return join(head, tensors)


def _order(tensors: Tensors) -> list[str]:
    """Scales first: the rest is coded given them."""
    return sorted(tensors, key=lambda name: (not name.endswith(".scale"), name.rpartition(".")[0], name))


def _mode(name: str, before: Tensors, tensors: Tensors) -> int:
    new, old = tensors[name], before.get(name)
    if old is not None and old.dtype == new.dtype and old.tobytes() == new.tobytes():
        return SAME
    for mode in FRACTIONS:
        derived = _derived(mode, name, tensors)
        if derived is not None and derived.dtype == new.dtype and np.array_equal(derived, new):
            return mode
    if new.dtype == np.int8 and new.ndim == 2 and new.size:
        return WEIGHTS
    if (
        new.ndim == 1
        and new.dtype.itemsize <= 4
        and name.rpartition(".")[2] in ("scale", "bias", "multiplier", "shift")
    ):
        residuals = _as_numbers(new) - _expected(name, before, tensors, new)
        if np.abs(residuals).max(initial=0) < NUMBER_LIMIT:
            return NUMBERS
    return BYTES


def _code(
    coder: ArrayCoder, mode: int, name: str, before: Tensors, tensors: Tensors, new: NDArray
) -> NDArray:
    """Code a tensor, or read it: `new` has its type and shape, and when coding its values."""
    if mode == SAME:
        old = before.get(name)
        if old is None or old.nbytes != new.nbytes or old.dtype != new.dtype:
            raise CodingError(f"the old model has no {name} that could stay as it is")
        return old.reshape(new.shape)
    if mode in FRACTIONS:
        derived = _derived(mode, name, tensors)
        if derived is None:
            raise CodingError(f"{name} does not follow from a scale")
        return derived
    if mode == WEIGHTS:
        if new.dtype != np.int8 or new.ndim != 2:
            raise CodingError(f"{name} is no matrix of weights")
        old, guess, part = _weights_before(name, before, tensors, new.shape)
        return coder.weights(old, guess, part, new.copy())
    if new.ndim != 1 or new.dtype.itemsize > 4:
        raise CodingError(f"{name} is no row of numbers")
    expected = _expected(name, before, tensors, new)
    return _from_numbers(coder.numbers(_as_numbers(new) - expected, _number_kind(name)) + expected, new.dtype)


def _weights_before(
    name: str, before: Tensors, tensors: Tensors, shape: tuple[int, ...]
) -> tuple[NDArray[np.int8], NDArray[np.int16], NDArray[np.uint8]]:
    """Old weights, zero where there were none; the same at the new scale, rounded; and the quarter of a
    step in which they lay. Each [rows, columns] of the new matrix."""
    old = _fitted(before.get(name), shape, np.dtype(np.int8))
    exact = old * _ratios(name, before, tensors, shape[0])[:, None]
    guess = np.clip(np.rint(exact), -127, 127)
    part = np.clip(np.floor((exact - guess + 0.5) * 4), 0, 3)
    return old, guess.astype(np.int16), part.astype(np.uint8)


def _fitted(old: NDArray | None, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """The old tensor in the new shape, cut off or filled with zeros at the end of each axis."""
    fitted = np.zeros(shape, dtype)
    if old is not None and old.dtype == dtype and old.ndim == len(shape):
        cut = tuple(slice(min(a, b)) for a, b in zip(old.shape, shape, strict=True))
        fitted[cut] = old[cut]
    return fitted


def _ratios(name: str, before: Tensors, tensors: Tensors, rows: int) -> NDArray[np.float64]:
    """Old scale over new scale of each row; 1 where there are none."""
    stem = name.rpartition(".")[0]
    old, new = before.get(f"{stem}.scale"), tensors.get(f"{stem}.scale")
    kind = np.dtype(np.float32)
    if old is None or new is None or old.dtype != kind or new.dtype != kind or new.shape != (rows,):
        return np.ones(rows)
    with np.errstate(all="ignore"):
        ratios = _fitted(old, (rows,), kind).astype(np.float64) / new.astype(np.float64)
    return np.where(np.isfinite(ratios) & (ratios > 0), ratios, 1.0)


def _expected(name: str, before: Tensors, tensors: Tensors, new: NDArray) -> NDArray[np.int64]:
    """What a row of numbers would be if nothing but scales had changed."""
    old = _as_numbers(_fitted(before.get(name), new.shape, new.dtype))
    if not name.endswith(".bias"):
        return old
    ratios = _ratios(name, before, tensors, len(new))
    return np.clip(np.rint(old * ratios), -(2.0**31), 2.0**31).astype(np.int64)


def _derived(mode: int, name: str, tensors: Tensors) -> NDArray | None:
    """A multiplier or shift from its scale; None where none follows."""
    stem, _, part = name.rpartition(".")
    scale = tensors.get(f"{stem}.scale")
    if part not in ("multiplier", "shift") or scale is None or scale.dtype != np.float32 or not scale.size:
        return None
    try:
        made = quantize_multiplier(scale.astype(np.float64) * 2.0 ** (FRACTIONS[mode] - ACTIVATION_FRACTION))
    except ValueError:
        return None
    return made[part == "shift"]


def _number_kind(name: str) -> int:
    return {"scale": 0, "bias": 1}.get(name.rpartition(".")[2], 2)


def _as_numbers(array: NDArray) -> NDArray[np.int64]:
    """Floats as the integers of their bits, which are in the order of the floats."""
    if array.dtype.kind == "f":
        return array.view(f"<i{array.dtype.itemsize}").astype(np.int64)
    return array.astype(np.int64)


def _from_numbers(numbers: NDArray[np.int64], dtype: np.dtype) -> NDArray:
    if dtype.kind == "f":
        return numbers.astype(f"<i{dtype.itemsize}").view(dtype)
    return numbers.astype(dtype)


def _dictionary(name: str, before: Tensors) -> bytes:
    old = before.get(name)
    return old.tobytes()[-WINDOW:] if old is not None else b""


def _deflate(text: bytes, dictionary: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return packer.compress(text) + packer.flush()


def _inflate(text: bytes, dictionary: bytes) -> bytes:
    unpacker = zlib.decompressobj(-15, dictionary)
    try:
        made = unpacker.decompress(text) + unpacker.flush()
    except zlib.error as error:
        raise CodingError(f"a deflated part is damaged ({error})") from None
    if not unpacker.eof:
        raise CodingError("a deflated part ends too soon")
    return made


def _next_text(rest: bytes) -> tuple[bytes, bytes]:
    if len(rest) < 4:
        raise CodingError("the part of bytes ends too soon")
    end = 4 + struct.unpack_from("<I", rest)[0]
    return rest[4:end], rest[end:]


def _fill(tensors: Tensors, name: str, content: bytes) -> None:
    new = tensors[name]
    if len(content) != new.nbytes:
        raise CodingError(f"{name} has {len(content)} bytes, not {new.nbytes}")
    tensors[name] = np.frombuffer(content, new.dtype).reshape(new.shape)
