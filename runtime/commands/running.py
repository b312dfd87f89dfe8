"""What the commands that run a device share: how it starts, and how a lattice is told."""

from __future__ import annotations

from collections.abc import Iterable

from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure
from ossicle.runtime.lattice import Lattice, Path
from ossicle.runtime.lattice_prune import confidences


def starting(engine: str, config: NpuConfig) -> str:
    """What a person waits for while the device opens."""
    first = "; the first start builds it, which takes minutes" if engine == "rtl" else ""
    return f"starting the {engine} device ({config.name}, {config.lanes} lanes{first})"


def device_options(engine: str, music: int) -> dict:
    """Options for `open_device`.

    Raises:
        Failure: traffic that is out of range, or on a device that has no memory bus.
    """
    if not 0 <= music <= 99:
        raise Failure(f"--music {music} is not possible; use 0 to 99 (percent)")
    if music and engine == "functional":
        raise Failure("--music needs cycles: use --engine rtl or fast")
    return {"music_percent": music} if music else {}


def nbest_json(paths: Iterable[Path]) -> list[dict]:
    """Sentences with their score, and what of it is the boost of phrases."""
    return [{"text": p.text, "score": round(p.score, 4), "boost": round(p.boost, 4)} for p in paths]


def words_json(lattice: Lattice, path: Path) -> list[dict]:
    """The words of a sentence of a lattice, in seconds, each with how sure it is (lattice_prune.py)."""
    said = [edge for edge in path.edges if edge.word]
    return [
        {"word": edge.word, "start": edge.start, "end": edge.end, "confidence": round(confidence, 4)}
        for edge, confidence in zip(said, confidences(lattice, path), strict=True)
    ]


def lattice_json(lattice: Lattice) -> dict:
    """Nodes by time, edges with word, score (log-probability after what came before) and times, `boost` and
    `language` where they aren't 0."""
    edges = [
        {
            "from": e.source, "to": e.destination, "word": e.word, "score": round(e.score, 4),
            "start": e.start, "end": e.end, **({"boost": round(e.boost, 4)} if e.boost else {}),
            **({"language": round(e.language, 4)} if e.language else {}),
        }
        for e in lattice.edges
    ]  # fmt: skip
    return {"nodes": list(lattice.times), "edges": edges, "total": round(lattice.total, 4)}
