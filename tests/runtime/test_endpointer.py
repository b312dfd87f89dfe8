"""The end-pointers' rule and what they say, in numbers alone."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ossicle.runtime.endpointer import SPEECH, Decision, EndPointer, EndpointRule, Signs

SPECULATIVE, RESET, FINAL = Decision.SPECULATIVE, Decision.RESET, Decision.FINAL
RULE = EndpointRule(shortest_s=0.3, slope_s=0.8, complete=-0.5, longest_s=1.5, lead_s=0.2, still_s=0.06)
WHOLE, UNFINISHED, UNSURE = -0.1, -6.0, -1.0


def signs(silence_s, *, speech=0.0, still_s=1.0, pieces=3, version=3, whole: float | None = WHOLE):
    return Signs(
        speech=speech, silence_s=silence_s, still_s=still_s, pieces=pieces, version=version, whole=whole
    )


def said(moments, rule=RULE):
    """(index, decision) of each decision."""
    pointer = EndPointer(rule)
    return [(i, d) for i, moment in enumerate(moments) for d in pointer.update(moment)]


def silence(count, begin=1, **more):
    """Moments 30 ms apart."""
    return [signs(round(0.03 * k, 4), **more) for k in range(begin, begin + count)]


@pytest.mark.parametrize(
    ("whole", "patience"), [(WHOLE, 0.3), (-0.5, 0.3), (UNSURE, 0.7), (UNFINISHED, 1.5), (None, 0.7)]
)
def test_patience_grows_with_the_doubt_that_the_text_is_whole(whole, patience):
    assert RULE.patience_s(whole) == pytest.approx(patience)


def test_a_whole_text_ends_speculatively_and_then_finally():
    assert said(silence(20)) == [(3, SPECULATIVE), (9, FINAL)]


def test_an_unfinished_text_is_waited_for():
    assert said(silence(49, whole=UNFINISHED)) == [(43, SPECULATIVE)]
    assert said(silence(80, whole=UNFINISHED)) == [(43, SPECULATIVE), (49, FINAL)]


def test_speech_that_goes_on_takes_it_back():
    moments = [*silence(6), signs(0, speech=0.9), *silence(12, version=4)]
    assert said(moments) == [(3, SPECULATIVE), (6, RESET), (10, SPECULATIVE), (16, FINAL)]


def test_another_text_takes_it_back_and_must_be_still():
    late = [signs(0.03 * (6 + k), still_s=0.03 * k, version=4) for k in range(8)]
    assert said([*silence(5), *late]) == [(3, SPECULATIVE), (5, RESET), (7, SPECULATIVE), (9, FINAL)]


def test_a_final_one_does_not_wait_for_stillness_and_gives_the_speculative_too():
    moments = [signs(0.03 * k, still_s=0.0, version=k) for k in range(1, 20)]
    assert said(moments) == [(9, SPECULATIVE), (9, FINAL)]


def test_nothing_ends_that_has_not_begun_and_nothing_follows_the_end():
    assert said(silence(100, pieces=0)) == []
    assert said([signs(9.0, speech=SPEECH)]) == []
    pointer = EndPointer(RULE)
    for moment in silence(20):
        pointer.update(moment)
    assert pointer.done and pointer.update(signs(5.0)) == ()
    pointer.reset()
    assert not pointer.done and not pointer.speculated
    assert pointer.update(signs(5.0)) == (SPECULATIVE, FINAL)


MOMENT = st.builds(
    Signs,
    speech=st.sampled_from([0.0, 0.3, 0.7]),
    silence_s=st.floats(0, 2),
    still_s=st.floats(0, 2),
    pieces=st.integers(0, 2),
    version=st.integers(0, 3),
    whole=st.none() | st.floats(-10, 0),
)


@given(
    st.lists(MOMENT, max_size=60), st.builds(EndpointRule, lead_s=st.floats(0, 1), still_s=st.floats(0, 1))
)
def test_the_order_of_decisions(moments, rule):
    """(speculative reset)* then speculative final, or a prefix of it; each final has the moment's silence."""
    found = said(moments, rule)
    kinds = [kind for _, kind in found]
    assert kinds.count(FINAL) <= 1 and FINAL not in kinds[:-1]
    for i, kind in enumerate(kinds):
        assert (kind == SPECULATIVE) == (i % 2 == 0)
    for i, group in groupby(found, key=lambda item: item[0]):
        moment, here = moments[i], [kind for _, kind in group]
        if FINAL in here:
            assert moment.speech < SPEECH and moment.pieces > 0
            assert moment.silence_s >= rule.patience_s(moment.whole)
        if here == [RESET]:
            assert moment.speech >= SPEECH or moment.version != moments[i - 1].version


@given(st.lists(MOMENT, max_size=40))
def test_a_longer_patience_never_ends_before(moments):
    ends = [
        next((i for i, kind in said(moments, EndpointRule(shortest_s=s)) if kind == FINAL), len(moments))
        for s in (0.1, 0.4, 0.8)
    ]
    assert ends == sorted(ends)


@pytest.mark.parametrize("wrong", [{"lead_s": -0.1}, {"shortest_s": 2.0, "longest_s": 1.0}, {"still_s": -1}])
def test_times_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="not possible"):
        EndpointRule(**wrong)
