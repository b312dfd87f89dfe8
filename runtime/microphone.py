"""The microphone, through the optional package sounddevice (PortAudio)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.console import Failure

POLL_S = 0.1


def check_microphone(sample_rate: int) -> Any:
    """The package, ready to record one channel of int16.

    Raises:
        Failure: it is not installed, its library is missing, or no microphone records at this rate.
    """
    try:
        package = import_module("sounddevice")
    except ImportError:
        raise Failure("--live needs the package sounddevice: pip install 'ossicle[live]'") from None
    except OSError as error:
        raise Failure(f"--live needs PortAudio ({error}): e.g. apt-get install libportaudio2") from None
    try:
        package.check_input_settings(channels=1, dtype="int16", samplerate=sample_rate)
    except (ValueError, package.PortAudioError) as error:
        raise Failure(
            f"--live: there is no microphone that records at {sample_rate} Hz ({error}); connect one, or "
            "transcribe a recording"
        ) from None
    return package


def microphone(sample_rate: int, chunk: int) -> Iterator[NDArray[np.int16]]:
    """Chunks of so many samples as they are spoken; after Ctrl-C what was heard by then, and no more.

    A second Ctrl-C stops the program, as elsewhere. Raises Failure as `check_microphone`.
    """
    package, heard = check_microphone(sample_rate), SimpleQueue()

    def put(samples, frames, time, status) -> None:
        if not stopped.is_set():
            heard.put(np.array(samples[:, 0]))  # PortAudio uses its buffer again

    options = {"samplerate": sample_rate, "channels": 1, "dtype": "int16", "blocksize": chunk}
    with _until_interrupted() as stopped, package.InputStream(callback=put, **options):
        while not (stopped.is_set() and heard.empty()):
            try:
                yield heard.get(timeout=POLL_S)
            except Empty:
                continue


@contextmanager
def _until_interrupted() -> Iterator[Event]:
    """An event that the first Ctrl-C sets, which then stops nothing."""
    stopped, before = Event(), signal.getsignal(signal.SIGINT)

    def stop(number, frame) -> None:
        signal.signal(signal.SIGINT, before)
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
