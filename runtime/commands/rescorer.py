"""Options of a rescorer in the network, and what its answer makes of a result."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from ossicle.runtime.audio import Audio
from ossicle.runtime.cloud import DEADLINE_MS, CloudAnswer, CloudRescorer
from ossicle.runtime.console import Failure
from ossicle.runtime.lattice_budget import PERCENT, SAMPLE_BYTES, budget
from ossicle.runtime.recognizer import Result
from ossicle.runtime.second_pass import rescored_json

RESCORED_BEAM = 48
"""States of a search whose lattice is sent: one of few holds little to choose from (docs/decisions/0020)."""

RescorerOption = Annotated[
    str | None,
    typer.Option(
        help="Let the service at this URL (ossicle serve-rescorer) choose among the lattice's sentences.",
        metavar="URL",
    ),
]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        help=f"--rescorer: milliseconds after which the device's own result stands; default {DEADLINE_MS}.",
        metavar="MS",
    ),
]
UploadOption = Annotated[
    float | None,
    typer.Option(
        help=f"--rescorer: percent of the audio's bytes that its lattice has at most; default {PERCENT:g}.",
        metavar="PERCENT",
    ),
]


@dataclass(frozen=True)
class Cloud:
    """A rescorer that is asked once an utterance is over.

    `upload`: percent of the bytes of the audio that may be sent; lattices are pruned to it.
    """

    client: CloudRescorer
    upload: float = PERCENT

    @classmethod
    def open(
        cls, url: str | None, deadline_ms: float | None, upload: float | None, stack: ExitStack
    ) -> Cloud | None:
        """What the options ask for, closed by the stack; None where there is no rescorer.

        Raises:
            Failure: an option of a rescorer without one.
            ValueError, ModuleNotFoundError: as `CloudRescorer` and `budget`.
        """
        if url is None:
            for name, value in (("--deadline", deadline_ms), ("--upload", upload)):
                if value is not None:
                    raise Failure(f"{name} is for a rescorer; add --rescorer URL")
            return None
        upload = PERCENT if upload is None else upload
        budget(0, upload)
        client = CloudRescorer(url, DEADLINE_MS if deadline_ms is None else deadline_ms)
        stack.callback(client.close)
        return cls(client, upload)

    def rescore(self, result: Result, nbest: int, audio: Audio) -> tuple[Result, dict, bool]:
        """A final result as the rescorer has it, or as it was; what a command says of it; whether it chose.

        What is said: `rescorer`, and where it chose `nbest`, with the scores apart.
        """
        assert result.lattice is not None, "final results only"
        answer = self.client.rescore(result.lattice, nbest, budget(len(audio.samples), self.upload))
        said: dict = {"rescorer": self._said(answer, result, audio)}
        if not answer.sentences:
            return result, said, False
        found = answer.sentences
        said["nbest"] = rescored_json(found)
        paths = tuple(one.path for one in found)
        return replace(result, text=found[0].text, nbest=paths), said, True

    def _said(self, answer: CloudAnswer, result: Result, audio: Audio) -> dict:
        return {
            "url": self.client.url, "deadline_ms": self.client.deadline_ms, "used": bool(answer.sentences),
            "reason": answer.reason, "before": result.text, "model": answer.model,
            "milliseconds": answer.milliseconds, "model_milliseconds": answer.model_milliseconds,
            "sent_bytes": answer.sent_bytes, "audio_bytes": SAMPLE_BYTES * len(audio.samples),
        }  # fmt: skip


def cloud_line(made: dict) -> str:
    """What is told of `rescorer`."""
    if not made["used"]:
        return f"rescorer: not used, {made['reason']}; the device's own result stands"
    share = 100 * made["sent_bytes"] / max(made["audio_bytes"], 1)
    return (
        f"rescorer: {made['model']} in {made['milliseconds']:.0f} ms ({made['model_milliseconds']:.0f} ms of "
        f"work); {made['sent_bytes']} bytes sent, {share:.2f} % of the audio's {made['audio_bytes']:,}; "
        f"before: {made['before']}"
    )
