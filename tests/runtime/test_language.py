"""The net of languages on a device, its memory over a session, and what transcribe says of it."""

import numpy as np
import pytest
from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.reference import Reference
from ossicle.hw.config import PRESETS
from ossicle.models.export import Checkpoint, matrix_shapes, quantize_matrix, write_checkpoint
from ossicle.models.layers import STACK
from ossicle.models.untrained import DEVIATION, MEAN
from ossicle.runtime import spoken as command_side
from ossicle.runtime.console import Failure
from ossicle.runtime.frontend import FrontendParameters, features
from ossicle.runtime.language import UNIT, LanguageIdentifier, Session, evidence, languages_of
from ossicle.runtime.spoken import Spoken
from ossicle.sim.device import open_device

TOPOLOGY = {
    "kind": STACK, "features": 120, "labels": ["en", "de", "weight"],
    "layers": [{"lstm": 12, "reduce": 2}, {"linear": 3}],
}  # fmt: skip
ENGINES = ["functional", "fast", pytest.param("rtl", marks=[pytest.mark.slow, pytest.mark.rtl])]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A net of random weights."""
    rng, matrices = np.random.default_rng(3), {}
    for name, (rows, columns) in matrix_shapes(TOPOLOGY).items():
        weight = rng.normal(0, 3 / np.sqrt(columns), (rows, columns))
        matrices[name] = quantize_matrix(name, weight, rng.normal(0, 0.5, rows))
    frontend = FrontendParameters.from_statistics(MEAN, DEVIATION)
    path = tmp_path_factory.mktemp("language") / "language.safetensors"
    write_checkpoint(path, Checkpoint(TOPOLOGY, matrices, None, b"", frontend, {"name": "language"}))
    return path


@pytest.fixture(scope="module")
def program(path):
    return compile_checkpoint(path, PRESETS["base"])


@pytest.fixture
def identifier(program):
    with open_device("functional", PRESETS["base"]) as device:
        yield LanguageIdentifier(device, program)


def clip(seconds, seed):
    return np.random.default_rng(seed).normal(0, 2000, int(16000 * seconds)).astype(np.int16)


def test_evidence_is_the_weighted_mean_of_all_so_far():
    outputs = np.array([[4.0, 0.0, -60.0], [1.0, 3.0, 2.0], [0.0, 1.0, 2.0], [9.0, 0.0, -60.0]])
    found = evidence(outputs)
    np.testing.assert_allclose(found[1], [1, 3], atol=1e-4)
    np.testing.assert_allclose(found[2:], [[0.5, 2], [0.5, 2]], atol=1e-4)
    np.testing.assert_allclose(found[0], [4, 0], atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_device_gives_the_evidence_of_the_reference(engine, path, program):
    samples = clip(0.4, 1)
    reference, vectors = Reference(import_checkpoint(path)), features(samples, program_frontend(program))
    pairs = zip(vectors[0::2], vectors[1::2], strict=False)
    outputs = [reference.run("step", {"features.0": one, "features.1": two}) for one, two in pairs]
    with open_device(engine, PRESETS["base"]) as device:
        made = LanguageIdentifier(device, program)
        made.identify(clip(0.2, 9))
        made.forget()
        language = made.identify(samples)
        assert (made.cycles.total is None) == (engine == "functional") and made.cycles.jobs["step"] == len(
            outputs
        )
    expected = Session(["en", "de"]).judge(evidence(np.array(outputs) * UNIT)[-1])
    assert language == expected and 0.5 <= language.probability < 1


def program_frontend(program):
    return FrontendParameters.from_dict(program.meta["frontend"])


def test_chunks_change_nothing_and_beliefs_are_there_early(identifier):
    samples = clip(0.5, 2)
    whole = identifier.identify(samples)
    identifier.forget()
    identifier.begin()
    assert identifier.language.probability == 0.5
    seen = []
    for start in range(0, len(samples), 700):
        identifier.accept_waveform(16000, samples[start : start + 700])
        seen.append(identifier.language.probability)
    assert identifier.finish() == whole
    assert len({round(p, 6) for p in seen}) > 3
    with pytest.raises(ValueError, match="8000 Hz; the net takes 16000 Hz"):
        identifier.accept_waveform(8000, samples)


def test_an_utterance_of_nothing_is_what_came_before(identifier):
    assert identifier.identify(np.zeros(0, np.int16)).probabilities.keys() == {"en", "de"}


def test_a_session_switches_with_the_speaker_and_remembers_for_the_unclear():
    session = Session(["en", "de"])
    clear, unclear = np.array([4.0, 0.0]), np.array([0.2, 0.0])
    for turn in range(6):
        found = session.end(clear if turn % 2 == 0 else clear[::-1])
        assert found.code == ("en" if turn % 2 == 0 else "de") and found.probability > 0.9
    assert session.judge(unclear).code == "de"
    session.forget()
    assert session.judge(unclear).code == "en"
    for _ in range(30):
        session.end(clear)
    assert session.prior.max() <= session.stay + 1e-9
    assert session.end(np.array([0.0, 2.0])).code == "de"


def test_a_session_of_three_languages_keeps_sums_of_one():
    session = Session(["en", "de", "fr"], stay=0.7)
    for found in ([1.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]):
        language = session.end(np.array(found))
        assert sum(language.probabilities.values()) == pytest.approx(1) == session.prior.sum()
    assert language.code == "fr"
    with pytest.raises(ValueError, match="stay = 1 is not possible"):
        Session(["en", "de"], stay=1)


def test_only_a_net_of_languages_is_taken():
    assert languages_of("x", TOPOLOGY) == ["en", "de"]
    for labels in (["voiced", "whispered"], ["en", "weight"], None):
        with pytest.raises(ValueError, match="x: not a net of languages"):
            languages_of("x", {**TOPOLOGY, "labels": labels})


def test_a_given_language_needs_no_net_and_an_unknown_one_is_refused(path, monkeypatch):
    monkeypatch.setattr(command_side, "default_model", lambda name: path)
    config = PRESETS["base"]
    given = Spoken.load("de", config)
    assert given.program is None
    said = given.describe(clip(0.2, 4))["language"]
    assert said["code"] == "de" and said["given"] and said["probabilities"] == {"en": 0.0, "de": 1.0}
    with pytest.raises(Failure, match="--language fr: there is no such language; use auto, en, de"):
        Spoken.load("fr", config)
    with open_device("functional", config) as device:
        heard = Spoken.load("auto", config)
        heard.start(device)
        said = heard.describe(clip(0.3, 5))["language"]
    assert said["code"] in ("en", "de") and not said["given"] and said["cycles"] is None


def test_without_a_shipped_net_nothing_is_said(monkeypatch):
    def missing(name):
        raise Failure("the shipped model is missing")

    monkeypatch.setattr(command_side, "default_model", missing)
    assert Spoken.load("auto", PRESETS["base"]) is None
    with pytest.raises(Failure, match="missing"):
        Spoken.load("de", PRESETS["base"])
