"""Scores."""

import pytest


def test_word_errors():
    pytest.importorskip("torch", reason="needs torch (the extra 'train')")
    from ossicle.models.evaluate import score, word_errors

    assert word_errors("turn on the light", "turn on the light") == 0
    assert word_errors("turn on the light", "turn of light please") == 3
    assert word_errors("", "a b") == 2
    result = score(["a b c d", "e f"], ["a b c x", "e f"])
    assert result.wer == pytest.approx(16.67) and result.sentence_correct == 50
