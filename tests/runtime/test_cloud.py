"""The client against a service, and against servers that are slow, dead, wrong or malicious."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from ossicle.runtime.cloud import DEADLINE_HEADER, LEFT_BEHIND, CloudRescorer
from ossicle.runtime.commands.rescorer import cloud_line
from ossicle.runtime.lattice_wire import decode, encode
from ossicle.runtime.rescoring_answer import AnswerError, read_answer, write_answer
from rescoring_parts import LATTICE, small_rescorer

httpx = pytest.importorskip("httpx", reason="needs httpx (the extra 'cloud')")
service = pytest.importorskip("ossicle.runtime.rescoring_service", reason="needs fastapi (the extra 'cloud')")
testclient = pytest.importorskip("fastapi.testclient", reason="needs fastapi (the extra 'cloud')")

URL = "http://127.0.0.1:9"
MARGIN_S = 2.0  # a busy machine's; servers here would take 3 s or more
SENT = encode(replace(LATTICE, utterance=""))


@pytest.fixture(scope="module")
def rescorer(tmp_path_factory):
    return small_rescorer(tmp_path_factory.mktemp("cloud"))


def answered_by(handler, deadline_ms=5000):
    """A client whose requests a function answers."""
    return CloudRescorer(URL, deadline_ms, httpx.Client(transport=httpx.MockTransport(handler)))


def reply(status=200, content=b"", **headers):
    """A response that is read as one from a socket is."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


def as_json(value):
    return reply(content=json.dumps(value).encode())


def good(rescorer, request):
    lattice = decode(request)
    return write_answer(request, lattice, rescorer.rescore(lattice)[:3], "random", 1.5, rescorer.options.best)


@contextmanager
def server(serve):
    """A server on a real socket; `serve(connection)` has each connection. Gives its URL."""
    sock = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def accept():
        while not stop.is_set():
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(serve, connection, stop), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        stop.set()
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        thread.join(5)


def _serve(serve, connection, stop):
    with connection, suppress(OSError):
        serve(connection, stop)


def timed(cloud, lattice=LATTICE):
    """(answer, seconds it took)."""
    started = time.monotonic()
    answer = cloud.rescore(lattice)
    return answer, time.monotonic() - started


def test_the_service_chooses(rescorer):
    with testclient.TestClient(service.create_app(rescorer, "random"), base_url=URL) as client:
        answer = CloudRescorer(URL, 20000, client).rescore(LATTICE, 3)
    assert answer.reason is None and answer.model == "random" and len(answer.sentences) == 3
    assert answer.sent_bytes == len(SENT) and answer.milliseconds > 0
    expected = rescorer.rescore(decode(encode(LATTICE)))
    assert [one.text for one in answer.sentences] == [one.text for one in expected[:3]]
    device = {path.text: path for path in LATTICE.nbest(9)}
    assert all(one.path == device[one.text] for one in answer.sentences)  # with the device's own scores


def test_what_is_sent_is_the_lattice_alone(rescorer):
    seen = []

    def handler(request):
        seen.append(request)
        return as_json(good(rescorer, request.read()))

    assert answered_by(handler, 700).rescore(LATTICE).sentences
    assert seen[0].content == SENT and b"utterance" not in SENT
    assert 1 <= int(seen[0].headers[DEADLINE_HEADER]) <= 700


def test_a_budget_prunes_what_is_sent_and_the_answer_is_of_that(rescorer):
    seen, most = [], len(SENT) - 8

    def handler(request):
        seen.append(request.read())
        return as_json(good(rescorer, seen[-1]))

    answer = answered_by(handler).rescore(LATTICE, 3, most)
    assert len(seen[0]) == answer.sent_bytes <= most
    assert decode(seen[0]).words < LATTICE.words
    texts = {path.text for path in LATTICE.nbest(9)}
    assert answer.sentences and {one.text for one in answer.sentences} <= texts


WRONG = {
    "an error": (lambda a: reply(500, b"oops\n\n<b>"), "answered 500: oops <b>"),
    "a refusal": (
        lambda a: reply(413, b'{"detail":"too large"}', **{"content-type": "application/json"}),
        "answered 413: too large",
    ),
    "elsewhere": (lambda a: reply(302, location="http://x"), "answered 302"),
    "a page": (lambda a: reply(content=b"<html>log in</html>"), "cannot be read"),
    "nothing": (lambda a: reply(), "cannot be read"),
    "noise": (lambda a: reply(content=bytes(range(256))), "cannot be read"),
    "a list": (lambda a: as_json([a]), "cannot be read"),
    "too much": (lambda a: reply(content=bytes(1 << 21)), "too long"),
    "zipped": (lambda a: reply(content=b"\x1f\x8b", **{"content-encoding": "gzip"}), "cannot be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_answer_leaves_the_device_alone(rescorer, case):
    respond, reason = WRONG[case]
    answer = answered_by(lambda request: respond(good(rescorer, request.read()))).rescore(LATTICE)
    assert answer.sentences == () and answer.model is None
    assert reason in answer.reason and "\n" not in answer.reason
    assert answer.sent_bytes == len(SENT)


def changed(**changes):
    return lambda answer: answer | changes


def first(**changes):
    def change(answer):
        sentences = [answer["sentences"][0] | changes, *answer["sentences"][1:]]
        return answer | {"sentences": sentences}

    return change


LIES = {
    "version": (changed(version=1), "of version 1"),
    "another request": (changed(checksum=7), "another request"),
    "no sentences": (changed(sentences=[]), "no sentences"),
    "text that was not heard": (first(text="buy gold"), "not that of its path"),
    "no path": (first(edges=[1, 0]), "no path"),
    "half a path": (first(edges=[0]), "no path"),
    "no edge": (first(edges=[99]), "cannot be read"),
    "an edge from the end": (first(edges=[-1]), "no number of an edge"),
    "a truth": (first(edges=[True]), "no number of an edge"),
    "no score": (first(score="high"), "no score"),
    "an endless score": (first(score=math.inf), "no score"),
    "worst first": (first(expected_errors=1e9), "best first"),
    "least likely first": (lambda answer: first(score=-1e9)(answer | {"best": "score"}), "best first"),
    "another order": (changed(best="length"), "not known, 'length'"),
    "a text for a score": (changed(milliseconds="1"), "no score"),
    "a number of sentences": (changed(sentences=3), "cannot be read"),
}


@pytest.mark.parametrize("case", LIES)
def test_an_answer_is_checked(rescorer, case):
    change, reason = LIES[case]
    message = encode(LATTICE)
    made = good(rescorer, message)
    assert len(read_answer(json.dumps(made).encode(), message, LATTICE).sentences) == 3
    with pytest.raises(AnswerError, match=reason):
        read_answer(json.dumps(change(made)).encode(), message, LATTICE)


def test_very_deep_json_is_refused():
    with pytest.raises(AnswerError, match="cannot be read"):
        read_answer(b"[" * 200000, b"", LATTICE)


def test_no_server_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    answer, seconds = timed(CloudRescorer(f"http://127.0.0.1:{port}", 5000))
    assert "cannot be reached" in answer.reason and answer.sentences == ()
    assert seconds < 5


def silent(connection, stop):
    stop.wait(30)


def dripping(connection, stop):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not stop.wait(0.02):
        connection.sendall(b"x")


def dripping_body(connection, stop):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    while not stop.wait(0.02):
        connection.sendall(b" ")


@pytest.mark.parametrize("serve", [silent, dripping, dripping_body])
def test_the_deadline_holds_whatever_the_server_does(serve):
    with server(serve) as url:
        answer, seconds = timed(CloudRescorer(url, 150))
    assert answer.sentences == () and 0.1 < seconds < 0.15 + MARGIN_S
    assert f"no answer from {url} within 150 ms" in answer.reason or "too slow" in answer.reason


def test_a_slow_name_does_not_hold_it_up(monkeypatch):
    def lookup(*arguments, **options):
        time.sleep(3)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    answer, seconds = timed(CloudRescorer("http://rescorer.invalid", 100))
    assert "within 100 ms" in answer.reason and seconds < 0.1 + MARGIN_S


@pytest.mark.parametrize(
    "data", [b"", b"\0\xff\0", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/9 9 9\r\n\r\n"]
)
def test_servers_of_other_things(data):
    def serve(connection, stop):
        connection.settimeout(5)
        connection.recv(65536)
        connection.sendall(data)

    with server(serve) as url:
        answer, seconds = timed(CloudRescorer(url, 5000))
    assert answer.sentences == () and answer.reason.isprintable() and seconds < 5


def test_requests_that_hang_do_not_pile_up(monkeypatch):
    over = threading.Event()

    def lookup(*arguments, **options):
        over.wait(30)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    cloud = CloudRescorer("http://rescorer.invalid", 20)
    reasons = [cloud.rescore(LATTICE).reason for _ in range(LEFT_BEHIND + 1)]
    over.set()
    assert all("within 20 ms" in reason for reason in reasons[:-1])
    assert reasons[-1] == f"{LEFT_BEHIND} earlier requests to http://rescorer.invalid hang"


def test_a_lattice_that_cannot_be_sent():
    answer = answered_by(lambda request: reply(500)).rescore(replace(LATTICE, total=math.nan))
    assert "not finite" in answer.reason and answer.sent_bytes == 0


@pytest.mark.parametrize(
    "url", ["", "rescorer", "ftp://host", "http://", "http://host?x=1", "http://h:99999", "http://h:x"]
)
def test_urls_are_checked(url):
    with pytest.raises(ValueError, match="is no URL of a rescorer"):
        CloudRescorer(url)


@pytest.mark.parametrize("deadline", [0, -5, math.nan, 1e9])
def test_deadlines_are_checked(deadline):
    with pytest.raises(ValueError, match="is not possible"):
        CloudRescorer(URL, deadline)


def test_what_is_told_where_the_service_is_not_used():
    made = {"used": False, "reason": "no answer from http://x within 5 ms"}
    assert cloud_line(made) == (
        "rescorer: not used, no answer from http://x within 5 ms; the device's own result stands"
    )
