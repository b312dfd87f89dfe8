"""The microphone, through the optional package sounddevice (PortAudio)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.runtime.console import Failure


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
    """Chunks of so many samples as they are spoken, until Ctrl-C. Raises Failure as `check_microphone`."""
    package, heard = check_microphone(sample_rate), SimpleQueue()

    def put(samples, frames, time, status) -> None:
        heard.put(np.array(samples[:, 0]))  # PortAudio uses its buffer again

    options = {"samplerate": sample_rate, "channels": 1, "dtype": "int16", "blocksize": chunk}
    with package.InputStream(callback=put, **options):
        try:
            while True:
                yield heard.get()
        except KeyboardInterrupt:
            return
