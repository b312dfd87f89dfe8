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
from pathlib import Path

import numpy as np
import torch
from ossicle.compiler.biasing import BIAS, NO_BIAS, PIECES, biasing_shapes, fingerprint, read_adapter
from ossicle.hw.numerics import PREACTIVATION_FRACTION
from ossicle.models.biasing.network import BITS, BiasingAdapter
from ossicle.models.export import FORMAT, VERSION, Checkpoint, Matrix, quantize_matrix
from safetensors.numpy import save_file

INT16 = np.iinfo(np.int16)


def core_of(checkpoint: Checkpoint) -> dict[str, str]:
    """What an adapter's header says of the recognizer it belongs to. Raises ValueError of a stack."""
    if checkpoint.embedding is None or checkpoint.is_stack:
        raise ValueError("context biasing is for a recognizer; this checkpoint is a stack of layers")
    found = fingerprint(checkpoint.matrices, checkpoint.embedding, checkpoint.tokenizer)
    return {"name": checkpoint.header.get("name", "unnamed"), "fingerprint": found}


@torch.no_grad()
def integer_matrices(adapter: BiasingAdapter) -> dict[str, Matrix]:
    """The matrices rounded; what they give is Q4.11."""
    saved, adapter.rounding = adapter.rounding, False
    made = {}
    for name, (rows, _) in biasing_shapes(adapter.topology).items():
        weight, bias = adapter.matrix(name)
        offset = np.zeros(rows) if name == BIAS else bias.double().numpy()
        made[name] = quantize_matrix(name, weight.double().numpy(), offset, bits=BITS)
    adapter.rounding = saved
    return made


def write_adapter(path: Path, adapter: BiasingAdapter, core: dict[str, str], header: dict) -> None:
    """Write the integers of the present parameters, whole or not at all.

    Args:
        core: see `core_of`.
        header: name and provenance.
    """
    tensors = {}
    for name, matrix in integer_matrices(adapter).items():
        for part in ("weight", "bias", "scale", "multiplier", "shift"):
            tensors[f"{name}.{part}"] = np.ascontiguousarray(getattr(matrix, part))
    pieces, no_bias = (parameter.detach().numpy() for parameter in (adapter.pieces, adapter.no_bias))
    tensors[PIECES] = np.clip(np.rint(pieces * 128), -128, 127).astype(np.int8)
    tensors[NO_BIAS] = np.clip(np.rint(no_bias * (1 << PREACTIVATION_FRACTION)), INT16.min, INT16.max).astype(
        np.int16
    )
    said = {"format": FORMAT, "version": VERSION, "topology": adapter.topology, "core": core, **header}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    save_file(tensors, str(temporary), metadata={"ossicle": json.dumps(said, separators=(",", ":"))})
    temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
    read_adapter(temporary)
    temporary.replace(path)


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
