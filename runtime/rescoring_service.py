"""A service that rescores lattices: HTTP, a lattice in, the likeliest sentences out; audio is never sent.

    POST /v1/rescore?sentences=5    body: a message of lattice_wire.py      -> rescoring_answer.py
    GET  /v1/health                 the model, what is read, how large

    400 not a lattice · 413 too large · 415 another media type or version · 503 too much to do

One lattice is rescored at a time: the model has a state. A request that waits past its sender's deadline is
dropped. Needs the extra `cloud`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ossicle.runtime import rescoring_answer
from ossicle.runtime.cloud import DEADLINE_HEADER, HEALTH, RESCORE
from ossicle.runtime.lattice import Lattice
from ossicle.runtime.lattice_wire import MEDIA_TYPE, VERSION, WireError, WireVersionError, decode
from ossicle.runtime.rescoring import Rescorer
from starlette.concurrency import run_in_threadpool


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of a request: bytes, edges, and characters of the longest sentence, an edge one more; and of requests
    that wait their turn. What a request may cost follows from them."""

    message_bytes: int = 1 << 16
    edges: int = 4096
    characters: int = 600
    waiting: int = 8


class TurnError(RuntimeError):
    """No turn for a request; the message says why."""


class Turns:
    """Gives one request at a time to the rescorer."""

    def __init__(self, rescorer: Rescorer, waiting: int) -> None:
        self._rescorer, self._waiting = rescorer, waiting
        self._busy, self._count, self._counting = Lock(), 0, Lock()

    def rescore(self, request: bytes, lattice: Lattice, sentences: int, name: str, until: float) -> dict:
        """The answer. Raises TurnError where too many wait, or its turn comes after `until` (monotonic)."""
        with self._counting:
            if self._count > self._waiting:
                raise TurnError("too many lattices wait; ask again later")
            self._count += 1
        try:
            with self._busy:
                started = time.monotonic()
                if started > until:
                    raise TurnError("the deadline passed before its turn came")
                found = self._rescorer.rescore(lattice)[:sentences]
                spent = 1000 * (time.monotonic() - started)
        finally:
            with self._counting:
                self._count -= 1
        return rescoring_answer.write_answer(
            request, lattice, found, name, spent, self._rescorer.options.best
        )


def create_app(rescorer: Rescorer, name: str, limits: Limits | None = None) -> FastAPI:
    """The service.

    Args:
        name: of the model, for answers.
    """
    limits = limits or Limits()
    turns = Turns(rescorer, limits.waiting)
    app = FastAPI(title="Ossicle rescorer", version=str(VERSION))

    @app.get(HEALTH)
    async def health() -> dict[str, Any]:
        reads = {"media_type": MEDIA_TYPE, "version": VERSION}
        return {"model": name, "reads": reads, "limits": vars(limits), "rescoring": vars(rescorer.options)}

    @app.post(RESCORE)
    async def rescore(request: Request, sentences: int = 1) -> dict[str, Any]:
        arrived = time.monotonic()
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != MEDIA_TYPE:
            raise HTTPException(415, f"send a lattice as {MEDIA_TYPE}")
        if not 1 <= sentences <= rescorer.options.nbest:
            raise HTTPException(400, f"sentences={sentences}: use 1 to {rescorer.options.nbest}")
        until = arrived + _deadline(request.headers.get(DEADLINE_HEADER)) / 1000
        message = await _message(request, limits.message_bytes)
        lattice = _lattice(message, limits)
        try:
            return await run_in_threadpool(turns.rescore, message, lattice, sentences, name, until)
        except TurnError as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from None

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        where = ", ".join(str(one["loc"][-1]) for one in error.errors())
        return JSONResponse({"detail": f"{where}: not a value that is possible"}, 400)

    return app


def _deadline(value: str | None) -> float:
    try:
        made = float(value) if value is not None else float("inf")
    except ValueError:
        made = float("nan")
    if not made > 0:
        raise HTTPException(400, f"{DEADLINE_HEADER} must be milliseconds, more than 0")
    return made


async def _message(request: Request, limit: int) -> bytes:
    """The body, or 413 as soon as there is more than `limit` of it."""
    message = bytearray()
    async for part in request.stream():
        message += part
        if len(message) > limit:
            raise HTTPException(413, f"a lattice of more than {limit} bytes; prune it")
    return bytes(message)


def _lattice(message: bytes, limits: Limits) -> Lattice:
    try:
        lattice = decode(message)
    except WireVersionError as error:
        raise HTTPException(415, str(error)) from None
    except WireError as error:
        raise HTTPException(400, str(error)) from None
    if len(lattice.edges) > limits.edges:
        raise HTTPException(413, f"a lattice of {len(lattice.edges)} edges; at most {limits.edges}")
    longest = longest_sentence(lattice)
    if longest > limits.characters:
        raise HTTPException(413, f"a sentence of {longest} characters; at most {limits.characters}")
    return lattice


def longest_sentence(lattice: Lattice) -> int:
    """Characters of the longest sentence, each edge one more."""
    longest = [0] * len(lattice.times)
    for edge in lattice.edges:
        reached = longest[edge.source] + len(edge.word) + 1
        longest[edge.destination] = max(longest[edge.destination], reached)
    return longest[-1]
