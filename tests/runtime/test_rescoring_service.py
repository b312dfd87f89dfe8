"""The service: what it answers to lattices, and to everything else."""

from __future__ import annotations

import random
import threading
import time
import zlib
from dataclasses import replace

import pytest
from ossicle.runtime.cloud import DEADLINE_HEADER, HEALTH, RESCORE
from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.lattice_wire import MEDIA_TYPE, decode, encode
from ossicle.runtime.rescoring_answer import read_answer
from rescoring_parts import LATTICE, small_rescorer

pytest.importorskip("httpx", reason="needs httpx (the extra 'cloud')")
server = pytest.importorskip("ossicle.runtime.rescoring_service", reason="needs fastapi (the extra 'cloud')")
testclient = pytest.importorskip("fastapi.testclient", reason="needs fastapi (the extra 'cloud')")

HEADERS = {"Content-Type": MEDIA_TYPE}


@pytest.fixture(scope="module")
def rescorer(tmp_path_factory):
    return small_rescorer(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def service(rescorer):
    with testclient.TestClient(
        server.create_app(rescorer, "random", server.Limits(edges=50, characters=40))
    ) as client:
        yield client


def asked(service, message, headers=HEADERS, **parameters):
    return service.post(RESCORE, content=message, headers=headers, params=parameters)


def test_a_lattice_is_answered_as_the_rescorer_on_the_spot_does(service, rescorer):
    message = encode(LATTICE)
    response = asked(service, message, sentences=9)
    assert response.status_code == 200
    answer = read_answer(response.content, message, LATTICE)
    expected = rescorer.rescore(decode(message))
    assert [one.text for one in answer.sentences] == [one.text for one in expected] and len(expected) == 7
    for one, other in zip(answer.sentences, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert one.model == pytest.approx(other.model, abs=1e-3)
        assert one.path.boost == other.path.boost
    assert answer.model == "random" and answer.milliseconds >= 0
    assert len(asked(service, message).json()["sentences"]) == 1


def test_health_says_what_is_read(service):
    made = service.get(HEALTH).json()
    assert made["model"] == "random" and made["limits"]["edges"] == 50
    assert made["reads"] == {"media_type": MEDIA_TYPE, "version": 1}
    assert made["rescoring"]["weight"] == 1.0


def versioned(number):
    head = b"OL" + bytes((number, 0))
    return head + zlib.crc32(head).to_bytes(4, "little")


MANY = Lattice((0.0, 1.0), tuple(Edge(0, 1, f"w{i}", -i / 8, 0, 1) for i in range(60)))
LONG = Lattice(
    tuple(float(i) for i in range(20)), tuple(Edge(i, i + 1, "reed", -0.5, i, i + 1.0) for i in range(19))
)
REFUSED = {
    "nothing": (b"", {}, {}, 400, "not a lattice message"),
    "audio": (b"RIFF\0\0\0\0WAVEfmt ", {}, {}, 400, "not a lattice message"),
    "half": (encode(LATTICE)[:-9], {}, {}, 400, "damaged"),
    "another version": (versioned(2), {}, {}, 415, "version 2; this is version 1"),
    "another type": (encode(LATTICE), {"Content-Type": "audio/wav"}, {}, 415, MEDIA_TYPE),
    "many bytes": (bytes(1 << 17), {}, {}, 413, "more than 65536 bytes"),
    "many edges": (encode(MANY), {}, {}, 413, "60 edges; at most 50"),
    "long sentences": (encode(LONG), {}, {}, 413, "95 characters; at most 40"),
    "no sentences": (encode(LATTICE), {}, {"sentences": 0}, 400, "sentences=0: use 1 to 50"),
    "many sentences": (encode(LATTICE), {}, {"sentences": 51}, 400, "use 1 to 50"),
    "no number": (encode(LATTICE), {}, {"sentences": "all"}, 400, "sentences: not a value"),
    "no deadline": (encode(LATTICE), {DEADLINE_HEADER: "soon"}, {}, 400, "must be milliseconds"),
    "a past deadline": (encode(LATTICE), {DEADLINE_HEADER: "-1"}, {}, 400, "more than 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_with_one_line(service, case):
    message, headers, parameters, status, detail = REFUSED[case]
    response = asked(service, message, HEADERS | headers, **parameters)
    assert response.status_code == status
    assert list(response.json()) == ["detail"]
    assert detail in response.json()["detail"] and "\n" not in response.json()["detail"]


def test_other_places_and_methods(service):
    assert service.get(RESCORE).status_code == 405
    assert service.post("/v2/rescore", content=b"").status_code == 404


@pytest.mark.parametrize("seed", range(60))
def test_damaged_bodies_never_stop_it(service, seed):
    rng = random.Random(seed)
    message = encode(LATTICE)
    body = bytearray(zlib.decompress(message[8:], wbits=-15) if message[3] & 1 else message[8:])
    for _ in range(rng.randrange(1, 5)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    head = b"OL\x01" + bytes((message[3] & 2,))
    sent = head + zlib.crc32(bytes(body), zlib.crc32(head)).to_bytes(4, "little") + bytes(body)
    response = asked(service, sent, sentences=5)
    assert response.status_code in (200, 400, 413)
    if response.status_code == 200:
        assert read_answer(response.content, sent, decode(sent)).sentences


def test_equal_edges_side_by_side(service):
    doubled = replace(LATTICE, edges=(*LATTICE.edges[:2], *LATTICE.edges))
    message = encode(doubled)
    response = asked(service, message, sentences=50)
    assert len(read_answer(response.content, message, doubled).sentences) == 13


class Slow:
    """A rescorer that waits to be let go."""

    def __init__(self, rescorer):
        self.rescorer, self.begun, self.go = rescorer, threading.Event(), threading.Event()
        self.options = rescorer.options

    def rescore(self, lattice):
        self.begun.set()
        assert self.go.wait(30)
        return self.rescorer.rescore(lattice)


def test_turns_one_at_a_time_and_not_without_end(rescorer):
    slow = Slow(rescorer)
    turns, answers = server.Turns(slow, waiting=1), {}

    def ask(name, until=float("inf")):
        try:
            answers[name] = turns.rescore(b"", LATTICE, 1, "random", until)["sentences"]
        except server.TurnError as error:
            answers[name] = str(error)

    first = threading.Thread(target=ask, args=("first",))
    late = threading.Thread(target=ask, args=("late", 0.0))
    first.start()
    assert slow.begun.wait(30)
    late.start()
    while turns._count < 2:
        time.sleep(0.001)
    ask("one too many")
    slow.go.set()
    for thread in (first, late):
        thread.join(30)
    ask("after")
    assert answers["one too many"] == "too many lattices wait; ask again later"
    assert answers["late"] == "the deadline passed before its turn came"
    assert answers["first"] == answers["after"] and len(answers["first"]) == 1


def test_a_full_service_answers_503(rescorer):
    with testclient.TestClient(server.create_app(rescorer, "random", server.Limits(waiting=-1))) as client:
        response = asked(client, encode(LATTICE))
    assert response.status_code == 503 and response.headers["retry-after"] == "1"
    assert "too many lattices wait" in response.json()["detail"]


def test_longest_sentence_counts_edges_too():
    assert server.longest_sentence(LATTICE) == len("rude") + len("bed") + 2
