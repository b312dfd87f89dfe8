"""The update code: any new checkpoint from any old one, byte for byte; small where little changed."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.runtime.update import delta, peers
from ossicle.runtime.update.coder import ArrayCoder, CodingError
from ossicle.runtime.update.layout import LayoutError, join, split
from small_checkpoints import checkpoint, content, derive, tuned


def size(sections: dict[str, bytes]) -> int:
    return sum(map(len, sections.values()))


def rescaled(rng, tensors):
    """Every row at another scale: integers, biases, multipliers and shifts change."""
    made = dict(tensors)
    for name in [key[: -len(".scale")] for key in tensors if key.endswith(".scale")]:
        ratio = rng.uniform(0.8, 1.25, len(tensors[f"{name}.scale"]))
        made[f"{name}.scale"] = (tensors[f"{name}.scale"] * ratio).astype(np.float32)
        weight = np.clip(np.rint(tensors[f"{name}.weight"] / ratio[:, None]), -127, 127)
        made[f"{name}.weight"] = weight.astype(np.int8)
        made[f"{name}.bias"] = np.rint(tensors[f"{name}.bias"] / ratio).astype(np.int32)
        made = derive(name, made)
    return made


CHANGES = {
    "none": lambda rng, old: dict(old),
    "tuned": tuned,
    "all weights": lambda rng, old: tuned(rng, old, 1.0),
    "rescaled": rescaled,
    "another": lambda rng, old: checkpoint(rng),
    "wider": lambda rng, old: checkpoint(rng, (27, 43)),
    "narrower": lambda rng, old: checkpoint(rng, (5, 9)),
    "extremes": lambda rng, old: old | {
        "encoder.0.weight": rng.choice([-128, 0, 127], old["encoder.0.weight"].shape).astype(np.int8),
        "encoder.0.bias": rng.choice([-(1 << 31), 0, (1 << 31) - 1], 24).astype(np.int32),
        "encoder.0.multiplier": rng.integers(0, 1 << 16, 24).astype(np.uint16),
        "encoder.0.scale": rng.choice([0.0, -1.0, np.nan, np.inf, 1e-40], 24).astype(np.float32),
    },
    "more tensors": lambda rng, old: old | {
        "new.weight": rng.integers(-3, 4, (3, 5)).astype(np.int8), "new.bias": rng.normal(size=3),
        "empty": np.zeros((0, 4), np.int8), "cube": rng.integers(0, 9, (2, 3, 4)).astype(np.int16),
        "scalar": np.array(1.5, np.float32),
    },
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(2, 8), st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.sampled_from(sorted(CHANGES)),
)  # fmt: skip
def test_the_new_checkpoint_comes_back_byte_for_byte(seed, bits, zeros, change):
    rng = np.random.default_rng(seed)
    before = checkpoint(rng, bits=bits, zeros=zeros)
    old, new = content(before), content(CHANGES[change](rng, before), wer={"set": 0.1})
    assert delta.restore(old, delta.make(old, new)) == new
    assert delta.restore(b"", delta.make(b"", new)) == new


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(1 << 39) + 1, (1 << 39) - 1)), st.integers(0, 3))
def test_numbers_of_any_size(values, kind):
    encoder = ArrayCoder()
    encoder.numbers(np.array(values, np.int64), kind)
    assert ArrayCoder(encoder.finish()).numbers(np.zeros(len(values), np.int64), kind).tolist() == values


def test_a_number_past_the_limit():
    with pytest.raises(CodingError, match="past 2\\*\\*39"):
        ArrayCoder().numbers(np.array([1 << 39]), 0)


def test_nothing_changed_takes_a_few_bytes():
    old = content(checkpoint(np.random.default_rng(0), (64, 96)))
    assert size(delta.make(old, old)) < 64


def test_a_stand_in_for_a_fine_tuned_model():
    rng = np.random.default_rng(1)
    before = checkpoint(rng, (192, 256), zeros=0.55)
    old, new = content(before), content(tuned(rng, before))
    made = size(delta.make(old, new))
    assert made <= 0.25 * size(delta.make(b"", new))
    patch = peers.zstd(new, old)
    if patch is not None:
        assert made <= patch
    patch = peers.bsdiff(old, new)
    if patch is not None:
        assert made <= patch


def test_a_new_scale_is_no_new_weight():
    """Rows that only changed their scale cost little beside weights drawn anew."""
    rng = np.random.default_rng(2)
    before = checkpoint(rng, (192, 256), zeros=0.55)
    old = content(before)
    assert size(delta.make(old, content(rescaled(rng, before)))) <= 0.25 * size(
        delta.make(old, content(checkpoint(rng, (192, 256), zeros=0.55)))
    )


@pytest.mark.parametrize("section", delta.SECTIONS)
def test_damaged_sections_give_no_crash_and_no_new_model(section):
    rng = np.random.default_rng(3)
    before = checkpoint(rng)
    after = tuned(rng, before) | {"tokenizer": rng.integers(0, 256, 300).astype(np.uint8)}
    old, new = content(before), content(after)
    sections = delta.make(old, new)
    body = sections[section]
    for place in {0, len(body) // 2, len(body) - 2}:
        for damaged in (body[:place], body[:place] + bytes([body[place] ^ 0x10]) + body[place + 1 :]):
            with suppress(CodingError):
                assert delta.restore(old, sections | {section: damaged}) != new


def test_another_old_model_gives_no_new_one():
    rng = np.random.default_rng(4)
    before = checkpoint(rng)
    old, new = content(before), content(tuned(rng, before))
    other = content(checkpoint(rng))
    with suppress(CodingError):
        assert delta.restore(other, delta.make(old, new)) != new


def test_a_layout_comes_apart_and_together():
    whole = content(checkpoint(np.random.default_rng(5)))
    assert join(*split(whole)) == whole
    for broken, why in [
        (b"", "8 bytes or more"), (whole[:-1], "cut off"), (whole + b"x", "stray bytes"),
        (b"\xff" * 16, "no length"), (whole[:8] + b"}" + whole[9:], "cannot be read"),
    ]:  # fmt: skip
        with pytest.raises(LayoutError, match=why):
            split(broken)
