"""A rescorer of random weights over a tokenizer of a few words, and lattices for it."""

from __future__ import annotations

import io

from ossicle.compiler.importer import import_checkpoint
from ossicle.models.export import write_checkpoint
from ossicle.runtime.language_model import HostModel
from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.rescoring import Rescorer, RescoringOptions
from random_lm import random_model
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

WORDS = ("red", "blue", "reed", "rude", "blur", "bed", "led", "dull")
LATTICE = Lattice(
    (0.0, 0.3, 0.6),
    (
        Edge(0, 1, "red", -0.5, 0.0, 0.3), Edge(0, 1, "rude", -0.7, 0.0, 0.3),
        Edge(0, 2, "blur", -2.1, 0, 0.6), Edge(1, 2, "bed", -0.25, 0.3, 0.6, 0.75),
        Edge(1, 2, "led", -0.5, 0.3, 0.6), Edge(1, 2, "", -3, 0.3, 0.3),
    ),
    -3.0,
)  # fmt: skip


def small_tokenizer():
    """A sentencepiece model, its bytes."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([f"{a} {b}" for a in WORDS for b in WORDS]), model_writer=model, vocab_size=18,
        model_type="bpe", bos_id=-1, eos_id=-1, minloglevel=9, num_threads=1,
    )  # fmt: skip
    return model.getvalue()


def small_rescorer(folder, **options):
    """A rescorer whose model has random weights; its checkpoint goes to the folder."""
    tokenizer = small_tokenizer()
    processor = SentencePieceProcessor(model_proto=tokenizer)
    labels = ["", *(processor.id_to_piece(i) for i in range(processor.get_piece_size()))]
    write_checkpoint(folder / "lm", random_model(labels))
    model = HostModel(import_checkpoint(folder / "lm"))
    return Rescorer(model, tokenizer, RescoringOptions(**{"weight": 1.0, "bonus": 0.5, **options}))
