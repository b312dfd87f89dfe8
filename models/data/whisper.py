"""Whispered speech made of any voice: the vocal tract kept, the voice taken away.

    x[n] -> a LPC envelope of order 20 every 8 ms -> noise e[n] of the residual's energy through 1 / A(z)
         -> low end cut, spectrum lifted by 0 to 8 dB an octave, level lowered by 10 to 20 dB

The larynx of a whisperer gives turbulence in place of pulses, no fundamental, and less of the lowest formant
(Ito, Takeda & Itakura 2005, Speech Communication 45). Frames of all-noise excitation keep the energy of the
residual smoothed over a few frames, so that a pulse train leaves no beat.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

RATE = 16000
ORDER = 20
HOP = 128
WINDOW = 512
EMPHASIS = 0.97
BANDWIDTH = 0.994  # widens the formants a little: a whisperer's glottis is open
SMOOTH = 3  # frames
LEVEL_DB = (-20.0, -10.0)
TILT_DB = (0.0, 8.0)  # an octave
TILTED_HZ = (300.0, 6000.0)
CUT_HZ = (200.0, 450.0)
CUT_DB = (3.0, 15.0)  # an octave

Audio = NDArray[np.float32]


def whisper(samples: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """A whispered version of a clip at 16 kHz, as long as the clip.

    Raises:
        ValueError: fewer samples than one window (32 ms).
    """
    if len(samples) < WINDOW:
        raise ValueError(f"{len(samples)} samples; a whisper needs {WINDOW} or more")
    speech = samples.astype(np.float64) / 32768
    made = _excite(np.append(speech[0], speech[1:] - EMPHASIS * speech[:-1]), rng)
    made = lfilter([1.0], [1.0, -EMPHASIS], made)
    made = _shape(made, rng)
    level = np.sqrt(np.mean(speech**2)) * 10 ** (rng.uniform(*LEVEL_DB) / 20)
    made *= level / (np.sqrt(np.mean(made**2)) + 1e-9)
    return np.clip(np.rint(made * 32768), -32768, 32767).astype(np.int16)


def _excite(speech: NDArray, rng: np.random.Generator) -> NDArray:
    """Noise through the envelope of each frame."""
    padded = np.pad(speech, (WINDOW // 2, WINDOW))
    count = len(speech) // HOP + 1
    window = np.hanning(WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count] * window
    predictors, energies = _envelopes(frames)
    kernel = np.hanning(SMOOTH + 2)[1:-1]
    gains = np.sqrt(np.convolve(energies, kernel / kernel.sum(), "same") / np.sum(window**2))
    noise, state = rng.standard_normal(count * HOP), np.zeros(ORDER)
    made = np.empty(count * HOP)
    for t in range(count):
        part = slice(t * HOP, (t + 1) * HOP)
        made[part], state = lfilter([1.0], predictors[t], noise[part] * gains[t], zi=state)
    return made[: len(speech)]


def _envelopes(frames: NDArray) -> tuple[NDArray, NDArray]:
    """A(z) [n, ORDER + 1] and the residual's energy [n] of windowed frames, by autocorrelation."""
    power = np.abs(np.fft.rfft(frames, 2 * WINDOW, axis=1)) ** 2
    correlation = np.fft.irfft(power, axis=1)[:, : ORDER + 1]
    correlation[:, 0] = correlation[:, 0] * 1.0001 + 1e-9
    predictors = np.ones((len(frames), ORDER + 1))
    for row, r in zip(predictors, correlation, strict=True):
        row[1:] = -solve_toeplitz(r[:-1], r[1:])
    energies = np.maximum(np.sum(predictors * correlation, axis=1), 1e-12)
    return predictors * BANDWIDTH ** np.arange(ORDER + 1), energies


def _shape(made: NDArray, rng: np.random.Generator) -> NDArray:
    """Cut the low end and lift the high end, with phases as they are."""
    spectrum = np.fft.rfft(made)
    hertz = np.fft.rfftfreq(len(made), 1 / RATE)
    cut = np.clip(np.log2(np.maximum(hertz, 20) / rng.uniform(*CUT_HZ)), None, 0) * rng.uniform(*CUT_DB)
    octaves = np.log2(np.clip(hertz, *TILTED_HZ) / TILTED_HZ[0])
    decibels = cut + rng.uniform(*TILT_DB) * octaves
    return np.fft.irfft(spectrum * 10 ** (decibels / 20), len(made))
