"""Responses of rooms: the direct path first, then a decay."""

import sys

import numpy as np
import pytest
from ossicle.models.data.rooms import LONGEST, RATE, room_response


def test_the_direct_path_comes_first_and_the_rest_decays():
    pytest.importorskip("pyroomacoustics", reason="needs pyroomacoustics (the extra 'train')")
    for seed in range(12):
        response = room_response(np.random.default_rng(seed))
        left = np.cumsum(response[::-1] ** 2)[::-1]
        decibels = 10 * np.log10(left / left[0])
        assert response[0] == 1 and RATE // 20 < len(response) <= LONGEST
        assert np.abs(response[RATE // 10 :]).max() < 0.5
        assert (
            decibels[RATE // 20] < -1 and decibels[RATE // 10] < -4 and decibels[int(0.9 * len(left))] < -15
        )


def test_a_seed_gives_one_room():
    pytest.importorskip("pyroomacoustics", reason="needs pyroomacoustics (the extra 'train')")
    first, again, other = (room_response(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first[:100], other[:100])


def test_without_pyroomacoustics_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(ValueError, match=r"pip install .ossicle\[train\]"):
        room_response(np.random.default_rng(0))
