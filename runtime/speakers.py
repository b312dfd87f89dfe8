"""The people that a device knows by their voice: a small file, and who of them an utterance is of.

    {"format": "ossicle-speakers", "version": 1, "net": SHA-256 of the speaker encoder's checkpoint,
     "threshold": 0.38, "people": {NAME: {"vector": [64 numbers], "clips": 3, "seconds": 6.1}}, "crc32": …}

A d-vector means something to the net that made it and to no other, so a file of another net's is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
from ossicle.runtime.console import Failure, write_whole
from ossicle.runtime.speaker import Speaker, Vector

FORMAT, VERSION = "ossicle-speakers", 1
DIGITS = 6  # of a vector's numbers: 1e-6 moves no cosine by more than 1e-5
KEYS = {"format", "version", "net", "threshold", "people", "crc32"}


@dataclass(frozen=True)
class Person:
    """Somebody enrolled: a d-vector of length 1, of so many clips and seconds of speech."""

    vector: Vector
    clips: int
    seconds: float


@dataclass(frozen=True)
class Speakers:
    """People by name, for one net.

    Args:
        net: SHA-256 of the net's checkpoint file.
        threshold: cosine from which an utterance is taken to be a person's.
    """

    net: str
    threshold: float
    people: dict[str, Person]

    def identify(self, vector: Vector | None) -> Speaker:
        """Who speaks, by the d-vector of the utterance; None: nothing was heard."""
        if vector is None or not self.people:
            return Speaker(None, None)
        scores = {name: float(person.vector @ vector) for name, person in self.people.items()}
        best = max(scores, key=lambda name: scores[name])
        return Speaker(best if scores[best] >= self.threshold else None, scores[best])

    def with_person(self, name: str, person: Person) -> Speakers:
        """With somebody enrolled, or enrolled anew."""
        return replace(self, people={**self.people, name: person})

    def with_threshold(self, threshold: float) -> Speakers:
        """The same people, taken from another cosine on."""
        return replace(self, threshold=threshold)

    def without(self, name: str) -> Speakers:
        """Without somebody. Raises Failure if there is no such person."""
        if name not in self.people:
            known = ", ".join(self.people) or "nobody"
            raise Failure(f"{name!r} is not enrolled; enrolled: {known}")
        return replace(self, people={key: one for key, one in self.people.items() if key != name})

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        people = {
            name: {
                "vector": [round(float(value), DIGITS) for value in person.vector],
                "clips": person.clips, "seconds": round(person.seconds, 2),
            }
            for name, person in self.people.items()
        }  # fmt: skip
        body = {"format": FORMAT, "version": VERSION, "net": self.net, "threshold": self.threshold}
        body["people"] = people
        write_whole(path, json.dumps({**body, "crc32": _check(body)}, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path, net: str | None = None) -> Speakers:
        """The file's people.

        Args:
            net: the SHA-256 that the file must name; None: whatever it names.
        Raises:
            Failure: no such file, one that is none or was damaged, or that is of another version or net.
        """
        try:
            found = json.loads(path.read_bytes())
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}") from None
        except ValueError:
            raise Failure(f"{path}: not a file of speakers; ossicle enrol makes one") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise Failure(f"{path}: not a file of speakers; ossicle enrol makes one")
        if found.get("version") != VERSION:
            raise Failure(f"{path}: of version {found.get('version')}; this one reads {VERSION}: enrol anew")
        stored = found.pop("crc32", None)
        if set(found) != KEYS - {"crc32"} or stored != _check(found):
            raise Failure(f"{path}: damaged (its checksum is another); enrol anew")
        if net is not None and found["net"] != net:
            raise Failure(
                f"{path}: enrolled with another speaker encoder ({found['net'][:12]}…, this is {net[:12]}…); "
                "enrol anew"
            )
        people = {
            name: Person(np.array(one["vector"], np.float64), one["clips"], one["seconds"])
            for name, one in found["people"].items()
        }
        return cls(found["net"], found["threshold"], people)


def net_hash(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint file, hexadecimal."""
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def _check(body: dict) -> int:
    return crc32(json.dumps(body, sort_keys=True, ensure_ascii=False).encode())
