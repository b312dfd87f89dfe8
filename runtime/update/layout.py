"""The parts of a checkpoint file, byte for byte: a safetensors header, and tensors by name.

file = length of the header u64 | header, JSON | tensors, one after another without a gap
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8",
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?",
}  # fmt: skip
NUMPY = {key: np.dtype(value) for key, value in DTYPES.items()}


class LayoutError(ValueError):
    """A file that is no checkpoint; one sentence that says why."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: bytes `start` to `end` after the header."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    end: int


def split(content: bytes) -> tuple[bytes, dict[str, NDArray]]:
    """(length and header, tensors in the order of their bytes) of a file.

    Raises:
        LayoutError: not a safetensors file, or one with gaps.
    """
    if len(content) < 8:
        raise LayoutError("not a checkpoint (a safetensors file has 8 bytes or more)")
    (size,) = struct.unpack_from("<Q", content)
    if not 2 <= size <= len(content) - 8:
        raise LayoutError("not a checkpoint (its first 8 bytes are no length of a safetensors header)")
    head, body = content[: 8 + size], content[8 + size :]
    tensors = {}
    for name, place in places(head).items():
        if place.end > len(body):
            raise LayoutError(f"cut off: {name} ends at byte {place.end} of {len(body)}")
        tensors[name] = np.frombuffer(body[place.start : place.end], place.dtype).reshape(place.shape)
    if sum(tensor.nbytes for tensor in tensors.values()) != len(body):
        raise LayoutError("there are stray bytes after the tensors")
    return head, tensors


def join(head: bytes, tensors: dict[str, NDArray]) -> bytes:
    """The file of a header and its tensors."""
    return head + b"".join(tensors[name].tobytes() for name in places(head))


def places(head: bytes) -> dict[str, Place]:
    """Every tensor of a length and header, in the order of their bytes.

    Raises:
        LayoutError: no safetensors header, an unknown type, or tensors with gaps between them.
    """
    try:
        table = json.loads(head[8:])
        found = {
            name: Place(
                NUMPY[entry["dtype"]], tuple(map(int, entry["shape"])), *map(int, entry["data_offsets"])
            )
            for name, entry in table.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(f"not a checkpoint (its safetensors header cannot be read: {error})") from None
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].start, item[1].end)))
    following = 0
    for name, place in ordered.items():
        size = place.dtype.itemsize * int(np.prod(place.shape, dtype=np.int64))
        if place.start != following or place.end - place.start != size or min(place.shape, default=0) < 0:
            raise LayoutError(f"not a checkpoint (tensor {name} is not where its neighbours end)")
        following = place.end
    return ordered
