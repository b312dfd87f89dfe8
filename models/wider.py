"""A transducer's vocabulary made larger: its word pieces stay, with their labels, and others are added.

    embedding of a new piece = that of the last old piece in its text
    output of a new piece    = that of the first old piece in its text, BEHIND less

so that the network says what it said before, and has a new piece as a weak choice where its text begins. An
accent that the old pieces have not is left out to find them: ä begins as a does.

A tokenizer is a sequence of protocol buffer fields (sentencepiece's ModelProto; field 1, repeated: a piece,
its score and its type); bytes of more pieces after those that are there add to the list. Pieces of lower
score are merged later: a text of the old language is cut as it was, but for what the new pieces join yet.
"""

from __future__ import annotations

import io
import struct
import unicodedata
from dataclasses import replace

import torch
from ossicle.models.initial import Start
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch import Tensor

BEHIND = 3.0  # logits
FOLDED = {"ß": "s", "æ": "a", "ø": "o", "ł": "l"}  # letters that are no letter and a sign
OUTPUTS = ("weights.joint_output", "ctc.weight")
BIASES = ("biases.joint_output", "ctc.bias")
OUTPUT = "joint.output"


def widened(start: Start, pieces: list[str]) -> Start:
    """The same network with more word pieces, in the order given after its own.

    Raises:
        ValueError: a piece that it has already.
    """
    old = pieces_of(start.tokenizer)
    if known := sorted(set(old) & set(pieces)):
        raise ValueError(f"the tokenizer has the piece {known[0]!r} already")
    made = [_parts(piece, old) for piece in pieces]
    first = torch.tensor([parts[0] + 1 for parts in made], dtype=torch.long)  # label = piece + 1
    last = torch.tensor([parts[-1] + 1 for parts in made], dtype=torch.long)
    parameters, masks = dict(start.parameters), dict(start.masks)
    parameters["embedding"] = _with_rows(parameters["embedding"], last)
    for name in OUTPUTS:
        if name in parameters:
            parameters[name] = _with_rows(parameters[name], first)
    for name in BIASES:
        if name in parameters:
            parameters[name] = torch.cat([parameters[name], parameters[name][first] - BEHIND])
    if OUTPUT in masks:
        masks[OUTPUT] = _with_rows(masks[OUTPUT], first)
    topology = {**start.topology, "vocabulary": start.topology["vocabulary"] + len(pieces)}
    tokenizer = with_pieces(start.tokenizer, pieces)
    return replace(start, topology=topology, tokenizer=tokenizer, parameters=parameters, masks=masks)


def new_pieces(tokenizer: bytes, texts: list[str], count: int) -> list[str]:
    """The first `count` pieces of texts that the tokenizer has not: letters, then what BPE joins.

    Raises:
        ValueError: the texts have not so many.
    """
    old = set(pieces_of(tokenizer))
    letters = sorted({letter for text in texts for letter in text.replace(" ", "")} - old)
    size = len(letters) + len(old) + count
    found: list[str] = []
    while not found and size > len(letters):
        found, size = _learned(texts, size), size - max(1, count // 4)
    merged = [piece for piece in found if piece not in old and piece not in letters]
    wanted = [*letters, *merged][:count]
    if len(wanted) < count:
        raise ValueError(
            f"{count} more word pieces are wanted; the texts of the new language have {len(wanted)}"
        )
    return wanted


def pieces_of(tokenizer: bytes) -> list[str]:
    """The pieces of a sentencepiece model, by id."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def with_pieces(tokenizer: bytes, pieces: list[str]) -> bytes:
    """A sentencepiece model with more pieces, whose scores are below all that it has."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    lowest = min(processor.get_score(i) for i in range(processor.get_piece_size()))
    fields = (_piece_field(piece, lowest - i) for i, piece in enumerate(pieces, 1))
    return tokenizer + b"".join(fields)


def _learned(texts: list[str], size: int) -> list[str]:
    """Pieces of a BPE of so many pieces, in the order in which they were joined; none if texts have less."""
    out = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=out, model_type="bpe", bos_id=-1, eos_id=-1,
            vocab_size=size, character_coverage=1.0, minloglevel=2, normalization_rule_name="identity",
        )  # fmt: skip
    except RuntimeError:  # a vocabulary larger than the texts have pieces for
        return []
    return pieces_of(out.getvalue())[1:]


def _piece_field(piece: str, score: float) -> bytes:
    text = piece.encode()
    message = b"\x0a" + _varint(len(text)) + text + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + _varint(len(message)) + message


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _parts(piece: str, old: list[str]) -> list[int]:
    """Old pieces that make up a new one's text, each the longest that fits; 0, unknown, where none does."""
    known, rest, made = {text: i for i, text in enumerate(old)}, _plain(piece, old), []
    while rest:
        length = next((n for n in range(len(rest), 0, -1) if rest[:n] in known), 0)
        made.append(known[rest[:length]] if length else 0)
        rest = rest[max(1, length) :]
    return made


def _plain(piece: str, old: list[str]) -> str:
    letters = (
        letter if letter in old else FOLDED.get(letter, unicodedata.normalize("NFD", letter)[0])
        for letter in piece
    )
    return "".join(letters)


def _with_rows(values: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([values, values[rows]])
