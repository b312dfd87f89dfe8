"""ossicle serve-rescorer: the cloud's side, a language model that reranks the lattices that devices send."""

from __future__ import annotations

import json
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from ossicle.compiler.importer import import_checkpoint
from ossicle.runtime.commands.options import (
    LmBestOption,
    LmBonusOption,
    LmNbestOption,
    LmWeightOption,
    rescoring_options,
)
from ossicle.runtime.console import Failure, JsonOption, note
from ossicle.runtime.expected_errors import expected_errors
from ossicle.runtime.language_model import open_host_model
from ossicle.runtime.programs import CLOUD_MODEL, default_model
from ossicle.runtime.rescoring import Rescorer, tokenizer_of

PORT = 8765
CONNECTIONS = 64  # at a time; more are answered 503
INTEGER, FLOAT = "integer", "float"


def serve_rescorer(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen at; 0: any that is free.", min=0, max=65535)
    ] = PORT,
    model: Annotated[
        Path | None, typer.Option(help="The language model, a checkpoint; default: the one shipped.")
    ] = None,
    recognizer: Annotated[
        Path | None,
        typer.Option(help="A checkpoint whose word pieces the model has; default: the one shipped."),
    ] = None,
    arithmetic: Annotated[
        str, typer.Option(metavar="float|integer", help="float, or the processor's integers.")
    ] = FLOAT,
    lm_weight: LmWeightOption = None,
    lm_bonus: LmBonusOption = None,
    lm_nbest: LmNbestOption = None,
    lm_best: LmBestOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rescore the lattices that `ossicle transcribe --rescorer` sends, until Ctrl-C; needs the extra cloud.

    No audio is taken. Whoever reaches the port may ask: put it behind a proxy with TLS and a log-in.
    """
    if arithmetic not in (INTEGER, FLOAT):
        raise Failure(f"--arithmetic {arithmetic} is not possible; use {FLOAT} or {INTEGER}")
    options = rescoring_options(lm_weight, lm_bonus, lm_nbest, lm_best, used=True)
    uvicorn, pools = _needed("uvicorn"), _needed("threadpoolctl")
    service = _needed("ossicle.runtime.rescoring_service")
    opened = open_host_model(model or default_model(CLOUD_MODEL), floats=arithmetic == FLOAT)
    rescorer = Rescorer(opened, tokenizer_of(import_checkpoint(recognizer or default_model())), options)
    rescorer.log_probs(["ready"])  # what is made at the first use is made before a deadline counts
    expected_errors([["ready"], []], [0.0, 0.0])
    app = service.create_app(rescorer, opened.name)
    # Products as small as these take longer on the BLAS's threads than without.
    with _listening(host, port) as sock, pools.threadpool_limits(1):
        told = {"url": _url(sock), "model": opened.name, "arithmetic": arithmetic, **vars(options)}
        if as_json:
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        else:
            note(f"{opened.name} ({arithmetic}, {options}) rescores at {told['url']}; Ctrl-C ends")
        settings = uvicorn.Config(app, log_level="warning", limit_concurrency=CONNECTIONS)
        uvicorn.Server(settings).run(sockets=[sock])


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ossicle."):
            raise
        raise Failure(
            f'serve-rescorer needs {error.name}, which is not installed: pip install "ossicle[cloud]"'
        ) from None


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Failure(f"cannot listen at {host} port {port}: {error.strerror or error}") from None


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
