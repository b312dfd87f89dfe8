"""The rescorer as a user meets it: a service in a process of its own, and transcribe beside it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from ossicle.models.export import read_checkpoint, write_checkpoint
from ossicle.runtime.cli import run
from ossicle.runtime.programs import MEANINGS_MODEL, default_model
from random_lm import random_model
from sentencepiece import SentencePieceProcessor

for _module in ("fastapi", "httpx", "uvicorn", "threadpoolctl"):
    pytest.importorskip(_module, reason=f"needs {_module} (the extra 'cloud')")

COMMAND = [sys.executable, "-m", "ossicle.runtime.cli"]


def ossicle(*arguments):
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory, untrained_checkpoint, noise_wav):
    """Paths by name: a recognizer, its language model, and one of other pieces."""
    folder = tmp_path_factory.mktemp("served")
    processor = SentencePieceProcessor(model_proto=read_checkpoint(untrained_checkpoint).tokenizer)
    labels = ["", *(processor.id_to_piece(i) for i in range(processor.get_piece_size()))]
    write_checkpoint(folder / "lm.safetensors", random_model(labels, kept=3))
    write_checkpoint(folder / "other.safetensors", random_model([*labels[:-1], "~"]))
    named = {path.name: path for path in folder.iterdir()}
    return named | {"wav": noise_wav, "model": untrained_checkpoint}


@pytest.fixture(scope="module")
def served(files):
    """What the service says of itself; it runs until the tests are over."""
    arguments = (
        "serve-rescorer", "--port", 0, "--model", files["lm.safetensors"], "--recognizer", files["model"],
        "--arithmetic", "integer", "--lm-weight", 2, "--lm-bonus", 0.5, "--json",
    )  # fmt: skip
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


def transcribed(files, *arguments):
    done = ossicle(
        "transcribe", files["wav"], "--engine", "functional", "--model", files["model"], *arguments, "--json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_service_chooses_as_the_processor_does(files, served):
    assert served["model"] == "random" and served["weight"] == 2 and served["arithmetic"] == "integer"
    local = ("--language-model", files["lm.safetensors"], "--lm-weight", 2, "--lm-bonus", 0.5)
    device = transcribed(files, "--nbest", 3, *local)
    whole = ("--deadline", 30000, "--upload", 100, "--beam", 4)
    found = transcribed(files, "--nbest", 3, "--rescorer", served["url"], *whole)
    assert found["rescorer"]["used"] and found["rescorer"]["reason"] is None
    assert found["rescorer"]["before"] == device["rescored"]["before"]
    assert found["text"] == device["text"] == found["nbest"][0]["text"]
    for one, other in zip(found["nbest"], device["nbest"], strict=True):
        assert one["text"] == other["text"]
        assert one["language_model"] == pytest.approx(other["language_model"], abs=1e-3)
        assert one["transducer"] == other["transducer"]  # the device's own, not what was sent
    assert 0 < found["rescorer"]["sent_bytes"] < found["rescorer"]["audio_bytes"]
    assert "rescored" not in found and found["lattice"] == device["lattice"]


def test_what_is_sent_keeps_to_the_share_of_the_audio(files, served):
    options = ("--rescorer", served["url"], "--deadline", 30000, "--beam", 16)
    by_share = {p: transcribed(files, *options, "--upload", p)["rescorer"] for p in (100, 0.5)}
    assert all(one["used"] for one in by_share.values())
    sent = {share: one["sent_bytes"] for share, one in by_share.items()}
    assert sent[0.5] <= 0.005 * by_share[0.5]["audio_bytes"] < sent[100]


def test_people_see_what_was_sent(files, served):
    done = ossicle(
        "transcribe", files["wav"], "--engine", "functional", "--model", files["model"], "--rescorer",
        served["url"], "--deadline", 30000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("rescorer: random in"))
    assert "bytes sent" in line and "before:" in line


def test_without_a_service_the_device_answers_alone(files):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    options = ("--rescorer", f"http://127.0.0.1:{port}", "--deadline", 200)
    plain = transcribed(files, "--nbest", 2, "--beam", 48)  # as what is sent is searched
    found = transcribed(files, "--nbest", 2, *options)
    assert found["lattice"] == plain["lattice"]
    assert not found["rescorer"]["used"] and "http://127.0.0.1" in found["rescorer"]["reason"]
    assert (found["text"], found["nbest"]) == (plain["text"], plain["nbest"])
    local = ("--language-model", files["lm.safetensors"])
    assert transcribed(files, *options, *local)["rescored"]["model"] == "random"


TRANSCRIBE = {
    "a deadline alone": (["--deadline", "5"], "--deadline is for a rescorer; add --rescorer URL"),
    "a share alone": (["--upload", "5"], "--upload is for a rescorer; add --rescorer URL"),
    "no share": (["--rescorer", "http://127.0.0.1:9", "--upload", "0"], "0 % of the audio's bytes"),
    "no deadline": (["--rescorer", "http://127.0.0.1:9", "--deadline", "0"], "a deadline of 0 ms"),
    "no URL": (["--rescorer", "example"], "is no URL of a rescorer"),
    "streamed": (["--rescorer", "http://127.0.0.1:9", "--stream"], "--rescorer does not go with --stream"),
}
SERVE = {
    "no file": (["--model", "none.safetensors"], "none.safetensors: no such file"),
    "another net": (["--model", default_model(MEANINGS_MODEL)], "not a language model"),
    "other pieces": (["--model", "{other.safetensors}", "--recognizer", "{model}"], "other word pieces"),
    "no recognizer": (["--recognizer", "{lm.safetensors}"], "not the program of a recognizer"),
    "arithmetic": (["--arithmetic", "double"], "use float or integer"),
    "weight": (["--lm-weight", "-1"], "weight of -1.0 is not possible"),
    "address": (["--host", "256.1.1.1"], "cannot listen at 256.1.1.1 port 8765"),
    "port": (["--port", "99999"], "'--port'"),
}


@pytest.fixture
def refused(files, tmp_path, monkeypatch, capsys):
    """refused(arguments, options, message): in this process, in an empty folder that stays so."""

    def check(arguments, options, message):
        monkeypatch.chdir(tmp_path)
        given = [files[one[1:-1]] if str(one).startswith("{") else one for one in options]
        assert run([str(one) for one in (*arguments, *given)]) == 2
        said = capsys.readouterr()
        line = said.err.splitlines()[-1]
        assert line.startswith("ossicle: ") and message in line, said.err
        assert said.out == "" and list(tmp_path.iterdir()) == []

    return check


@pytest.mark.parametrize("case", TRANSCRIBE)
def test_transcribe_refuses_with_one_line(case, files, refused):
    arguments = ("transcribe", files["wav"], "--engine", "functional", "--model", files["model"])
    refused(arguments, *TRANSCRIBE[case])


@pytest.mark.parametrize("case", SERVE)
def test_serve_refuses_with_one_line(case, refused):
    refused(("serve-rescorer",), *SERVE[case])


def test_a_port_that_is_taken(refused):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        refused(("serve-rescorer",), ["--port", port], f"cannot listen at 127.0.0.1 port {port}")


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "threadpoolctl"])
def test_what_is_not_installed_is_named(module, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "ossicle.runtime.rescoring_service", raising=False)
    refused(("serve-rescorer",), [], f'{module}, which is not installed: pip install "ossicle[cloud]"')


def test_the_client_s_library_is_named_too(files, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    arguments = ("transcribe", files["wav"], "--engine", "functional", "--model", files["model"])
    message = 'httpx, which is not installed: pip install "ossicle[cloud]"'
    refused(arguments, ["--rescorer", "http://127.0.0.1:9"], message)
