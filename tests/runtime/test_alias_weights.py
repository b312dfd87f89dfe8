"""What counts how much for a name: the sum written out, and weights that a table brings."""

import json
import math
from dataclasses import asdict

import pytest
from ossicle.runtime.alias_weights import Audio, Letters, Weights
from ossicle.runtime.aliases import SoundTable

TABLE = {"odds": [["a", "a", 4.0]], "words": {}, "before": {}, "after": {}}


def written(path, **parts):
    path.write_text(json.dumps({**TABLE, **parts}))
    return path


def test_a_table_without_weights_counts_as_the_first_did(tmp_path):
    weights = SoundTable(written(tmp_path / "t.json")).weights
    one = weights.of_letters(Letters(9.0, 2.5, 0.7, 2, 3.0))
    assert one == 0.4 * 9.0 - 0.47 * 2.5 + 1.1 * 0.7 + 3.4 * 2 - (0.21 * 3.0 + 1.4) - 14.6
    strange = weights.of_letters(Letters(9.0, 2.5, 0.7, 2, 0.0))
    assert strange == 0.4 * 9.0 - 0.47 * 2.5 + 1.1 * 0.7 + 3.4 * 2 - 14.6, "never trained on"
    audio = weights.of_audio(Audio(-20.0, -4.0, -30.0, 3))
    assert audio == 0.42 * -20.0 - 0.3 * -4.0 - 0.31 * -30.0 - 0.23 * 3


def test_a_table_brings_its_own(tmp_path):
    own = Weights(odds=1.0, doubt=3.0, piece=-0.5)
    assert SoundTable(written(tmp_path / "t.json", weights=asdict(own))).weights == own


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({}, "weights are to be odds, usual"),
        ({**asdict(Weights()), "more": 1.0}, "weights are to be odds, usual"),
        ([1.0], "weights are to be odds, usual"),
        ({**asdict(Weights()), "doubt": math.nan}, "'doubt' is nan, no finite number"),
        ({**asdict(Weights()), "doubt": "much"}, "could not convert"),
        ({**asdict(Weights()), "doubt": None}, "doubt"),
    ],
)
def test_odd_weights_are_refused(tmp_path, weights, said):
    with pytest.raises(ValueError, match=r"t\.json: not a table of what names are heard as") as caught:
        SoundTable(written(tmp_path / "t.json", weights=weights))
    assert said in str(caught.value) and "\n" not in str(caught.value)
