"""An adapter's checkpoint: a safetensors file, integers only, and a card beside it.

phrase.lstm, phrase.spelled, phrase.sounds, query.labels, query.joint, bias    matrices, see models/export.py
phrase.embedding     int8   [V, embedding]      Q0.7, of the catalogue's encoder
no_bias.key          int16  [heads * key]       Q4.11, of the entry that stands for no phrase
metadata["ossicle"]  JSON   format, version, name, topology, provenance, and
                            core: {"name", "fingerprint"} of the recognizer it belongs to

compiler/biasing.py says what each is for, and reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.biasing import (
    BIAS,
    KIND,
    NO_BIAS,
    PIECES,
    biasing_shapes,
    check_topology,
    core_sizes,
    fingerprint,
    read_adapter,
)
from ossicle.models.export import FORMAT, VERSION, Checkpoint, Matrix, quantize_matrix
from safetensors.numpy import save_file

DEFAULT_SIZES = {"heads": 2, "key": 64, "value": 32, "labels": 3, "embedding": 64, "hidden": 64}


@dataclass(frozen=True, eq=False)
class AdapterIntegers:
    """What a checkpoint holds; compiler.biasing.Adapter is the same as it is read.

    pieces: int8 [V, embedding]; no_bias: int16 [heads * key].
    """

    topology: dict
    matrices: dict[str, Matrix]
    pieces: NDArray[np.int8]
    no_bias: NDArray[np.int16]


def adapter_topology(core: dict, sizes: dict[str, int]) -> dict:
    """The topology of an adapter for a recognizer's topology. Raises ValueError on sizes that are none."""
    unknown = sorted(set(sizes) - set(DEFAULT_SIZES))
    if unknown:
        raise ValueError(f"an adapter has no {', '.join(unknown)}; there are {', '.join(DEFAULT_SIZES)}")
    return check_topology({"kind": KIND, **DEFAULT_SIZES, **sizes, **core_sizes(core)})


def core_of(checkpoint: Checkpoint) -> dict[str, str]:
    """What an adapter's header says of the recognizer it belongs to. Raises ValueError of a stack."""
    if checkpoint.embedding is None or checkpoint.is_stack:
        raise ValueError("context biasing is for a recognizer; this checkpoint is a stack of layers")
    found = fingerprint(checkpoint.matrices, checkpoint.embedding, checkpoint.tokenizer)
    return {"name": checkpoint.header.get("name", "unnamed"), "fingerprint": found}


def write_adapter(path: Path, adapter: AdapterIntegers, core: dict[str, str], header: dict) -> None:
    """Write, whole or not at all, what can be read back.

    Args:
        core: see `core_of`.
        header: name and provenance.
    Raises:
        ValueError: integers that no adapter can have.
    """
    tensors = {PIECES: adapter.pieces, NO_BIAS: adapter.no_bias}
    for name, matrix in adapter.matrices.items():
        for part in ("weight", "bias", "scale", "multiplier", "shift"):
            tensors[f"{name}.{part}"] = np.ascontiguousarray(getattr(matrix, part))
    said = {"format": FORMAT, "version": VERSION, "topology": adapter.topology, "core": core, **header}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    try:
        save_file(tensors, str(temporary), metadata={"ossicle": json.dumps(said, separators=(",", ":"))})
        temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
        read_adapter(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def untrained_adapter(topology: dict, seed: int = 0) -> AdapterIntegers:
    """Random integers of a topology, to build and test against; its attention is lively."""
    rng, matrices = np.random.default_rng(seed), {}
    for name, (rows, columns) in biasing_shapes(topology).items():
        weight = rng.normal(0, 3.0 / np.sqrt(columns), (rows, columns))
        bias = np.zeros(rows) if name == BIAS else rng.normal(0, 0.3, rows)
        matrices[name] = quantize_matrix(name, weight, bias)
    pieces = rng.integers(-128, 128, (topology["vocabulary"], topology["embedding"])).astype(np.int8)
    no_bias = rng.integers(-3000, 3000, topology["heads"] * topology["key"]).astype(np.int16)
    return AdapterIntegers(topology, matrices, pieces, no_bias)


def write_card(path: Path, more: dict) -> Path:
    """The card of a checkpoint: NAME.json beside it, with its header, its size, and what `more` says."""
    adapter = read_adapter(path)
    parameters = sum(m.weight.size + m.bias.size for m in adapter.matrices.values())
    said = {
        **adapter.header,
        "file": Path(path).name,
        "bytes": Path(path).stat().st_size,
        "parameters": int(parameters + adapter.pieces.size + adapter.no_bias.size),
        **more,
    }
    card = Path(path).with_suffix(".json")
    temporary = card.with_name(f"{card.name}.part")
    temporary.write_text(json.dumps(said, indent=1) + "\n")
    temporary.replace(card)
    return card
