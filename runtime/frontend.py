"""Streaming log-mel features in integers: the same bits in training, in every simulator and on a device.

    frame t   = samples[160 t : 160 t + 400]                      25 ms window every 10 ms, 16 kHz
    X[b]      = sum_n window[n] x[n] exp(-2 pi i b n / 512)       b: the bins from `low_hz` to `high_hz`
    mel[k]    = sum_b weight[k, b] |X[b]|**2
    y[t, k]   = saturate8(round((log2(mel[k] + FLOOR) - mean[k]) * multiplier[k] / 2**shift[k]))
    feature j = y[3 j], y[3 j + 1], y[3 j + 2]                    120 x int8, Q0.7, every 30 ms

Every sum is of integers and stays below 2**53, so that float64 matrix products are exact: their order, and
with it the machine, the BLAS library and the size of the chunks, does not matter.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ossicle.hw.numerics import round_shift, saturate

VERSION = 1
DFT_LENGTH = 512
WINDOW_FRACTION = 15  # window times cosine, Q0.15
SPECTRUM_SHIFT = 17  # of the 15 fraction bits none stays, and two bits more go: see _mel_energies
MEL_FRACTION = 8  # mel weights, Q0.8
FLOOR = 1 << 12  # energy of white noise of one least significant bit in the narrowest band
LOG_FRACTION = 10
LOG_SEGMENT_BITS = 8
LOG_MANTISSA_BITS = 16
FRAMES_AT_ONCE = 4096  # bounds the memory of a long file: about 40 MB


@dataclass(frozen=True)
class FrontendParameters:
    """What a checkpoint was trained with. Features are (log2 - mean) * multiplier >> shift, log2 in Q.10."""

    mean: tuple[int, ...]
    multiplier: tuple[int, ...]
    shift: tuple[int, ...]
    version: int = VERSION
    sample_rate: int = 16000
    window_samples: int = 400
    hop_samples: int = 160
    low_hz: int = 60
    high_hz: int = 7600
    stack: int = 3
    tail_samples: int = 2880

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(
                f"frontend version {self.version} is not {VERSION}, the only one this release computes"
            )
        if not len(self.mean) == len(self.multiplier) == len(self.shift) > 0:
            raise ValueError(
                f"mean, multiplier and shift need one value a mel band, not {len(self.mean)}, "
                f"{len(self.multiplier)} and {len(self.shift)}"
            )
        if self.window_samples % 2 or not 2 <= self.window_samples <= DFT_LENGTH:
            raise ValueError(f"window_samples must be even and 2..{DFT_LENGTH}, not {self.window_samples}")
        if not 0 < self.hop_samples <= self.window_samples:
            raise ValueError(f"hop_samples must be 1..{self.window_samples}, not {self.hop_samples}")
        if not all(0 <= m < 1 << 16 for m in self.multiplier) or not all(0 <= s <= 40 for s in self.shift):
            raise ValueError("multipliers must be 0..65535 and shifts 0..40")

    @property
    def mels(self) -> int:
        """Mel bands a frame."""
        return len(self.mean)

    @property
    def features(self) -> int:
        """Values in a stacked feature vector."""
        return self.mels * self.stack

    @property
    def step_samples(self) -> int:
        """Samples from one stacked feature vector to the next."""
        return self.hop_samples * self.stack

    @property
    def span_samples(self) -> int:
        """Samples that one stacked feature vector looks at."""
        return self.hop_samples * (self.stack - 1) + self.window_samples

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready mapping, the `frontend` entry of a checkpoint's header."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> FrontendParameters:
        """The inverse of `to_dict`. Raises ValueError on names that it does not know or that are missing."""
        unknown = set(values) - {f.name for f in fields(cls)}
        missing = {"mean", "multiplier", "shift"} - set(values)
        if unknown or missing:
            raise ValueError(f"frontend parameters: unknown {sorted(unknown)}, missing {sorted(missing)}")
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)

    @classmethod
    def from_statistics(cls, mean: NDArray, deviation: NDArray, width: float = 3.5) -> FrontendParameters:
        """Parameters that put `width` standard deviations at the end of the int8 range.

        Args:
            mean, deviation: [mels], of `log_mels` over a corpus (Q.10 units).
        """
        gain = 128 / (np.maximum(np.asarray(deviation, np.float64), 1.0) * width)
        shift = np.clip(15 - np.ceil(np.log2(gain)), 0, 40).astype(int)
        multiplier = np.minimum(np.rint(gain * 2.0**shift), 65535).astype(int)
        return cls(tuple(int(m) for m in np.rint(mean)), tuple(multiplier.tolist()), tuple(shift.tolist()))


@lru_cache(maxsize=8)
def _dft_tables(window_samples: int, low: int, high: int) -> tuple[NDArray, NDArray]:
    """Windowed cosines and sines about the window's centre, [window / 2, bins] each, Q0.15 held in float64.

    With the phase measured from the centre, cosines are even and sines odd: half the products suffice.
    """
    half = window_samples // 2
    n = np.arange(half) + 0.5
    window = 0.5 + 0.5 * np.cos(np.pi * n / half)
    angle = 2 * np.pi * np.outer(n, np.arange(low, high)) / DFT_LENGTH
    unit = 1 << WINDOW_FRACTION
    return np.rint(window[:, None] * np.cos(angle) * unit), np.rint(window[:, None] * np.sin(angle) * unit)


def _mel(hz: float | NDArray) -> NDArray:
    return 2595 * np.log10(1 + np.asarray(hz, np.float64) / 700)


@lru_cache(maxsize=8)
def _mel_weights(mels: int, sample_rate: int, low_hz: int, high_hz: int) -> tuple[int, int, NDArray]:
    """(first bin, past the last bin, weights [bins, mels] Q0.8): triangles, equally wide in mels."""
    bins = np.arange(DFT_LENGTH // 2 + 1)
    edges = np.linspace(_mel(low_hz), _mel(high_hz), mels + 2)
    position = _mel(bins * sample_rate / DFT_LENGTH)[:, None]
    rising = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    weights = np.rint(np.maximum(np.minimum(rising, falling), 0) * (1 << MEL_FRACTION))
    used = np.flatnonzero(weights.any(axis=1))
    low, high = int(used[0]), int(used[-1]) + 1
    return low, high, np.ascontiguousarray(weights[low:high])


_LOG_VALUE = np.array(
    [
        round(math.log2(1 + i / (1 << LOG_SEGMENT_BITS)) * (1 << LOG_FRACTION))
        for i in range((1 << LOG_SEGMENT_BITS) + 1)
    ]
)


def integer_log2(value: NDArray) -> NDArray[np.int64]:
    """log2 in Q.10 of positive integers below 2**53, by a table of 256 segments; off by 0.002 at most."""
    value = np.asarray(value, np.int64)
    exponent = np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1
    down, up = np.maximum(exponent - LOG_MANTISSA_BITS, 0), np.maximum(LOG_MANTISSA_BITS - exponent, 0)
    mantissa = ((value >> down) << up) - (1 << LOG_MANTISSA_BITS)
    fraction_bits = LOG_MANTISSA_BITS - LOG_SEGMENT_BITS
    segment, fraction = mantissa >> fraction_bits, mantissa & ((1 << fraction_bits) - 1)
    start = _LOG_VALUE[segment]
    return (
        (exponent << LOG_FRACTION) + start + (((_LOG_VALUE[segment + 1] - start) * fraction) >> fraction_bits)
    )


def _mel_energies(frames: NDArray, parameters: FrontendParameters) -> NDArray:
    """frames [n, window] int16 -> mel energies [n, mels], integers held in float64.

    Bounds, with |x| <= 2**15 and a window of 512 at most: even and odd sums <= 2**16; spectrum <= 2**16 *
    2**15 * 256 = 2**39. The 15 bits of the table and two more are rounded away, leaving 2**22, whose squares
    add to 2**45. Over the bins Parseval bounds the sum of |X|**2 by 512 * 512 * 2**30 / 2**4 = 2**44; each
    lies in two triangles whose weights add to 2**8 (and rounding) at most: below 2**53.
    """
    p = parameters
    low, high, weights = _mel_weights(p.mels, p.sample_rate, p.low_hz, p.high_hz)
    cosine, sine = _dft_tables(p.window_samples, low, high)
    half = p.window_samples // 2
    after, before = frames[:, half:].astype(np.float64), frames[:, half - 1 :: -1].astype(np.float64)
    scale = 1.0 / (1 << SPECTRUM_SHIFT)  # a power of two: the product is exact, rint rounds half to even
    real = np.rint(((after + before) @ cosine) * scale)
    imaginary = np.rint(((after - before) @ sine) * scale)
    return (real * real + imaginary * imaginary) @ weights


def log_mels(samples: NDArray[np.int16], parameters: FrontendParameters) -> NDArray[np.int64]:
    """log2 mel energies [frames, mels] in Q.10 of the whole frames in `samples`, before normalisation."""
    p = parameters
    count = max(0, (len(samples) - p.window_samples) // p.hop_samples + 1)
    if count == 0:
        return np.zeros((0, p.mels), np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(samples, p.window_samples)[:: p.hop_samples]
    parts = [_mel_energies(frames[i : i + FRAMES_AT_ONCE], p) for i in range(0, count, FRAMES_AT_ONCE)]
    return integer_log2(np.concatenate(parts).astype(np.int64) + FLOOR)


def _normalise(logs: NDArray[np.int64], parameters: FrontendParameters) -> NDArray[np.int8]:
    p = parameters
    centred = (logs - np.array(p.mean, np.int64)) * np.array(p.multiplier, np.int64)
    features = saturate(round_shift(centred, np.array(p.shift, np.int64)), 8).astype(np.int8)
    return features.reshape(-1, p.features)


def padded_steps(samples: int, parameters: FrontendParameters) -> int:
    """Feature vectors of a finished utterance: it and `tail_samples` of silence, up to an even count.

    The tail gives a streaming model time to write out the last word; an even count fills the last frame of
    an encoder that joins two vectors. No samples, no features.
    """
    pair = 2 * parameters.step_samples
    return 2 * -(-(samples + parameters.tail_samples) // pair) if samples else 0


def _checked(samples: NDArray) -> NDArray[np.int16]:
    samples = np.asarray(samples)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(
            f"audio must be one channel of int16 samples, not {samples.dtype} of shape {samples.shape}"
        )
    return samples


def features(samples: NDArray[np.int16], parameters: FrontendParameters) -> NDArray[np.int8]:
    """Features [T, 120] of a whole utterance at 16 kHz, T = padded_steps(len(samples)): what streaming gives.

    Raises:
        ValueError: samples that are not one channel of int16.
    """
    samples = _checked(samples)
    steps = padded_steps(len(samples), parameters)
    if steps == 0:
        return np.zeros((0, parameters.features), np.int8)
    padded = np.zeros((steps - 1) * parameters.step_samples + parameters.span_samples, np.int16)
    kept = min(len(samples), len(padded))
    padded[:kept] = samples[:kept]
    return _normalise(log_mels(padded, parameters), parameters)


class StreamingFrontend:
    """The frontend on audio that arrives in chunks of any size; the chunks do not show in the result.

    frontend = StreamingFrontend(parameters)
    for chunk in microphone: process(frontend.accept(chunk))     # int8 [n, 120], n >= 0
    process(frontend.finish())                                   # the rest, and ready for another utterance
    """

    def __init__(self, parameters: FrontendParameters) -> None:
        self.parameters = parameters
        self.reset()

    def reset(self) -> None:
        """Forget the utterance so far."""
        self._buffer = np.zeros(0, np.int16)
        self.received = 0
        """Samples of the utterance so far."""
        self._emitted = 0

    def accept(self, samples: NDArray[np.int16]) -> NDArray[np.int8]:
        """Take samples; return the feature vectors that they complete, int8 [n, 120]."""
        samples = _checked(samples)
        self.received += len(samples)
        self._buffer = np.concatenate([self._buffer, samples])
        p = self.parameters
        return self._emit(max(0, (len(self._buffer) - p.span_samples) // p.step_samples + 1))

    def finish(self) -> NDArray[np.int8]:
        """End the utterance: return the vectors of its end and of the silent tail, then reset."""
        p = self.parameters
        steps = padded_steps(self.received, p) - self._emitted
        missing = (steps - 1) * p.step_samples + p.span_samples - len(self._buffer)
        if steps > 0 and missing > 0:
            self._buffer = np.concatenate([self._buffer, np.zeros(missing, np.int16)])
        rest = self._emit(max(0, steps))
        self.reset()
        return rest

    def _emit(self, steps: int) -> NDArray[np.int8]:
        p = self.parameters
        if steps == 0:
            return np.zeros((0, p.features), np.int8)
        used = self._buffer[: (steps - 1) * p.step_samples + p.span_samples]
        self._buffer = self._buffer[steps * p.step_samples :]
        self._emitted += steps
        return _normalise(log_mels(used, p), p)
