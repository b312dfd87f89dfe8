"""The integer frontend: exact sums, chunks that don't show, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime import frontend as module
from ossicle.runtime.frontend import (
    FrontendParameters,
    StreamingFrontend,
    features,
    integer_log2,
    log_mels,
    padded_steps,
)

PARAMETERS = FrontendParameters.from_statistics(np.linspace(31000, 22500, 40), np.full(40, 6000.0))


def noise(samples: int, seed: int = 0, level: int = 3000) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(0, level, samples), -32768, 32767).astype(np.int16)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 9000),
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    st.integers(0, 100),
)
def test_chunks_of_any_size_give_the_same_features(length, chunks, seed):
    samples = noise(length, seed)
    stream, parts, start = StreamingFrontend(PARAMETERS), [], 0
    while start < length:
        size = chunks[len(parts) % len(chunks)] + (sum(chunks) == 0)
        parts.append(stream.accept(samples[start : start + size]))
        start += size
    parts.append(stream.finish())
    np.testing.assert_array_equal(np.concatenate(parts), features(samples, PARAMETERS))


def test_finish_leaves_a_fresh_stream():
    stream, samples = StreamingFrontend(PARAMETERS), noise(4000)
    first = np.concatenate([stream.accept(samples), stream.finish()])
    second = np.concatenate([stream.accept(samples), stream.finish()])
    np.testing.assert_array_equal(first, second)


def test_sums_are_exact_at_full_scale():
    """Against Python integers, on the loudest signals there are."""
    half = PARAMETERS.window_samples // 2
    low, high, weights = module._mel_weights(40, 16000, 60, 7600)
    cosine, sine = module._dft_tables(400, low, high)
    loud = [np.full(400, -32768), np.where(np.arange(400) % 2, 32767, -32768), noise(400, 1, 30000)]
    for frame in np.array(loud, np.int16):
        after, before = [int(v) for v in frame[half:]], [int(v) for v in frame[half - 1 :: -1]]
        power = []
        for b in range(high - low):
            real = sum((p + q) * int(c) for p, q, c in zip(after, before, cosine[:, b], strict=True))
            imaginary = sum((p - q) * int(s) for p, q, s in zip(after, before, sine[:, b], strict=True))
            power.append(rounded(real) ** 2 + rounded(imaginary) ** 2)
        energies = [sum(p * int(w) for p, w in zip(power, weights[:, k], strict=True)) for k in range(40)]
        assert max(energies) < 2**53
        assert [int(v) for v in module._mel_energies(frame[None], PARAMETERS)[0]] == energies


def rounded(value: int) -> int:
    floor, rest = divmod(value, 1 << module.SPECTRUM_SHIFT)
    half = 1 << (module.SPECTRUM_SHIFT - 1)
    return floor + (rest > half or (rest == half and floor % 2 == 1))


def test_log2_is_close_and_exact_at_powers_of_two():
    value = np.concatenate([np.arange(1, 70000), 2 ** np.arange(17, 53), 2 ** np.arange(17, 53) - 1])
    assert np.abs(integer_log2(value) / 1024 - np.log2(value)).max() < 0.002
    np.testing.assert_array_equal(integer_log2(2 ** np.arange(53)), 1024 * np.arange(53))


def test_a_tone_lights_its_band():
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.int16)
    edges = 700 * (10 ** (np.linspace(module._mel(60), module._mel(7600), 42) / 2595) - 1)
    band = log_mels(tone, PARAMETERS)[50].argmax()
    assert edges[band] < 1000 < edges[band + 2]


def test_length_is_even_and_covers_the_tail():
    for samples in (1, 479, 480, 16000, 16001):
        steps = padded_steps(samples, PARAMETERS)
        assert steps % 2 == 0
        assert steps * 480 >= samples + 2880 > (steps - 2) * 480
        assert features(noise(samples), PARAMETERS).shape == (steps, 120)
    assert features(np.zeros(0, np.int16), PARAMETERS).shape == (0, 120)


def test_parameters_survive_the_header_and_refuse_nonsense():
    assert FrontendParameters.from_dict(PARAMETERS.to_dict()) == PARAMETERS
    with pytest.raises(ValueError, match="version 9"):
        FrontendParameters.from_dict({**PARAMETERS.to_dict(), "version": 9})
    with pytest.raises(ValueError, match="unknown"):
        FrontendParameters.from_dict({**PARAMETERS.to_dict(), "colour": 1})
    with pytest.raises(ValueError, match="one value a mel band"):
        FrontendParameters((1, 2), (1,), (1,))


def test_other_than_one_channel_of_int16_is_refused():
    with pytest.raises(ValueError, match="float32"):
        features(np.zeros(100, np.float32), PARAMETERS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shape"):
        StreamingFrontend(PARAMETERS).accept(np.zeros((2, 100), np.int16))
