import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ossicle.compiler.passes.balance import assign, assign_pair


def longest_processing_time(work: np.ndarray) -> int:
    """Fullest lane where any row may go to any lane, heaviest row to the emptiest lane."""
    load = np.zeros(work.shape[1], np.int64)
    for row in sorted(work.ravel().tolist(), reverse=True):
        load[load.argmin()] += row
    return int(load.max())


def loads(work: np.ndarray, lane: np.ndarray) -> np.ndarray:
    made = np.zeros(work.shape[1], np.int64)
    np.add.at(made, lane, work)
    return made


@given(slots=st.integers(1, 12), log_lanes=st.integers(2, 7), seed=st.integers(0, 1 << 32))
def test_assignment(slots, log_lanes, seed):
    rng = np.random.default_rng(seed)
    work = rng.integers(0, rng.integers(1, 400), (slots, 1 << log_lanes))
    lane = assign(work)
    assert (np.sort(lane, axis=1) == np.arange(1 << log_lanes)).all()
    top = loads(work, lane).max()
    assert top <= work.sum() / work.shape[1] + np.ptp(work, axis=1).max()
    assert top <= longest_processing_time(work) + work.max()


def test_rows_of_like_work_balance_to_a_hair():
    work = np.random.default_rng(0).binomial(768, 0.4, (32, 32))
    top = loads(work, assign(work)).max()
    assert top <= 1.001 * work.sum() / 32


def test_zeros_alone():
    assert (np.sort(assign(np.zeros((3, 8), int)), axis=1) == np.arange(8)).all()


def tile_tops(work: np.ndarray, tile: np.ndarray, lane: np.ndarray) -> int:
    return sum(int(loads(work[tile == t], lane[tile == t]).max()) for t in np.unique(tile))


@given(slots=st.integers(1, 20), log_lanes=st.integers(2, 6), seed=st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None)
def test_pairs_give_every_lane_a_row_of_each_slot(slots, log_lanes, seed):
    rng = np.random.default_rng(seed)
    kinds = [
        (rng.integers(0, 300, (slots, 1 << log_lanes)), np.sort(rng.integers(0, 3, slots))) for _ in range(2)
    ]
    lane = assign_pair(*kinds)
    assert (np.sort(lane, axis=1) == np.arange(1 << log_lanes)).all()


def test_pairs_balance_both_kinds():
    rng = np.random.default_rng(0)
    kinds = [(rng.binomial(256, 0.4, (32, 32)), np.arange(32) // size) for size in (8, 32)]
    lane = assign_pair(*kinds)
    in_order = np.tile(np.arange(32), (32, 1))
    for work, tile in kinds:
        extra = tile_tops(work, tile, lane) / (work.sum() / 32) - 1
        assert extra < 0.4 * (tile_tops(work, tile, in_order) / (work.sum() / 32) - 1)
        assert extra < 0.02
