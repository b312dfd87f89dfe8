"""An untrained checkpoint of the right shapes, to build and test everything downstream without training.

python -m ossicle.models.untrained OUT.safetensors [--seed 0] [--zeros 0.6] [--hidden 256]
                                                    [--tokenizer FILE.model]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from ossicle.models.encoder import FAST
from ossicle.models.export import (
    SMALL_TOPOLOGY,
    Checkpoint,
    matrix_shapes,
    quantize_matrix,
    write_checkpoint,
)
from ossicle.runtime.frontend import FrontendParameters

# About what people's speech has: log2 mel energies in Q.10.
MEAN = np.linspace(31000, 22500, 40)
FAST_ZEROS = 0.9
DEVIATION = np.full(40, 6000.0)
WORDS = "turn on off the lights in kitchen set a timer for five minutes play some music stop what is weather"


def untrained(
    seed: int = 0, zeros: float = 0.6, tokenizer: bytes | None = None, branch: dict | None = None,
    hidden: int | None = None,
) -> Checkpoint:  # fmt: skip
    """Random weights of the size that training gives, `zeros` of each matrix zero; of a fast side's, 0.9.

    Args:
        branch: of the topology, see encoder.py.
        hidden: width of the encoder's layers, in place of SMALL_TOPOLOGY's.
    """
    rng = np.random.default_rng(seed)
    tokenizer = tokenizer or letters_tokenizer()
    topology = {**SMALL_TOPOLOGY, "vocabulary": vocabulary_size(tokenizer)}
    topology |= {"branch": branch} if branch else {}
    if hidden:
        topology["encoder"] = [{**layer, "hidden": hidden} for layer in topology["encoder"]]
    matrices = {}
    for name, (rows, columns) in matrix_shapes(topology).items():
        wanted = FAST_ZEROS if name.endswith(FAST) else zeros
        spread = (2.0 if name.startswith("encoder.") else 1.0) / np.sqrt(columns * (1 - wanted))
        weight = rng.normal(0, spread, (rows, columns)) * (rng.random((rows, columns)) >= wanted)
        matrices[name] = quantize_matrix(name, weight, rng.normal(0, 0.3, rows))
    embedding = rng.integers(-127, 128, (topology["vocabulary"], 96)).astype(np.int8)
    frontend = FrontendParameters.from_statistics(MEAN, DEVIATION)
    header = {"name": "untrained", "provenance": {"command": "ossicle.models.untrained", "seed": seed}}
    return Checkpoint(topology, matrices, embedding, tokenizer, frontend, header)


def vocabulary_size(tokenizer: bytes) -> int:
    """Labels of a model with this tokenizer: its pieces and blank."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_proto=tokenizer).get_piece_size() + 1


def letters_tokenizer() -> bytes:
    """A sentencepiece model of single letters and a few pieces, trained on one sentence."""
    from sentencepiece import SentencePieceTrainer

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS, " ".join("abcdefghijklmnopqrstuvwxyz'"), "zero one two three six"]),
        model_writer=out, model_type="bpe", vocab_size=90, bos_id=-1, eos_id=-1,
        character_coverage=1.0, minloglevel=2, normalization_rule_name="identity",
    )  # fmt: skip
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zeros", type=float, default=0.6)
    parser.add_argument("--hidden", type=int, help="width of the encoder's layers")
    parser.add_argument("--tokenizer", type=Path)
    arguments = parser.parse_args()
    tokenizer = arguments.tokenizer.read_bytes() if arguments.tokenizer else None
    made = untrained(arguments.seed, arguments.zeros, tokenizer, hidden=arguments.hidden)
    write_checkpoint(arguments.out, made)


if __name__ == "__main__":
    main()
