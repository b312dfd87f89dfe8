"""Each command as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.link import Network, link
from ossicle.hw.config import NpuConfig
from ossicle.runtime import cli
from ossicle.runtime.lattice_io import from_slf
from ossicle.runtime.programs import MEANINGS_MODEL, default_model, sample_files

COMMAND = [sys.executable, "-m", "ossicle.runtime.cli"]


def ossicle(*arguments, cwd=None, **kwargs):
    command = [*COMMAND, *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": 590, "check": False}
    return subprocess.run(command, cwd=cwd, **options | kwargs)


@pytest.fixture(scope="module")
def program(tmp_path_factory, untrained_checkpoint):
    path = tmp_path_factory.mktemp("program") / "p.npu"
    done = ossicle("compile", untrained_checkpoint, "-o", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == path.stat().st_size
    return path


@pytest.fixture(scope="module")
def linked(tmp_path_factory, untrained_checkpoint):
    graphs = {"recognizer": untrained_checkpoint, "nlu": default_model(MEANINGS_MODEL)}
    networks = {name: Network(import_checkpoint(path), 1.0) for name, path in graphs.items()}
    path = tmp_path_factory.mktemp("program") / "linked.npu"
    link(networks, NpuConfig.load("base")).save(path)
    return path


LINKED = {
    "transcribe": ["transcribe", "{wav}", "--engine", "functional", "--model", "{linked}"],
    "rescore": ["transcribe", "{wav}", "--engine", "functional", "--language-model", "{linked}"],
    "stream": ["transcribe", "{wav}", "--engine", "functional", "--stream", "--model", "{linked}"],
    "profile": ["profile", "{wav}", "--model", "{linked}"],
    "verify": ["verify", "{wav}", "--no-rtl", "--model", "{linked}"],
    "listen": ["listen", "{wav}", "--model", "{linked}"],
    "understand": ["understand", "hello", "--model", "{linked}"],
}


@pytest.mark.parametrize("case", LINKED)
def test_a_link_is_no_model(case, linked, noise_wav, capsys):
    assert cli.run([word.format(wav=noise_wav, linked=linked) for word in LINKED[case]]) == 2
    out, err = capsys.readouterr()
    several = f"{linked} is a link of several networks (recognizer, nlu); give the checkpoint of one of them"
    assert not out and err == f"ossicle: {several}\n"


def test_help_and_version():
    done = ossicle("--help")
    assert done.returncode == 0
    for name in cli.COMMANDS:
        assert name in done.stdout
    assert ossicle("--version").stdout.startswith("ossicle ")


def test_transcribe_json_and_files(tmp_path, program, noise_wav):
    slf, page = tmp_path / "o.slf", tmp_path / "o.html"
    done = ossicle(
        "transcribe", noise_wav, "--engine", "functional", "--model", program, "--nbest", 3, "--lattice", slf,
        "--report", page, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"text", "cycles", "rtf", "nbest", "lattice"} <= set(found)
    assert found["nbest"][0]["text"] == found["text"]
    assert from_slf(slf.read_text()).best().text == found["text"]
    content = page.read_text()
    assert content.startswith("<!doctype html>")
    assert "http://" not in content.replace("http://www.w3.org/2000/svg", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.html", "o.slf"]


def test_transcribe_for_people_prints_the_text_first(program, noise_wav):
    plain = ossicle("transcribe", noise_wav, "--engine", "functional", "--model", program)
    as_json = ossicle("transcribe", noise_wav, "--engine", "functional", "--model", program, "--json")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.splitlines()[0] == json.loads(as_json.stdout)["text"]


def test_several_recordings_get_files_of_their_own(tmp_path, program, noise_wav):
    other = tmp_path / "other.wav"
    soundfile.write(other, soundfile.read(noise_wav)[0][:3000], 16000)
    done = ossicle(
        "transcribe", noise_wav, other, "--engine", "functional", "--model", program, "--lattice",
        tmp_path / "o.slf", "--json",
    )  # fmt: skip
    assert [Path(row["file"]).name for row in json.loads(done.stdout)] == ["noise.wav", "other.wav"]
    assert (tmp_path / "o.noise.slf").is_file()
    assert (tmp_path / "o.other.slf").is_file()


def test_fast_counts_cycles_and_says_the_same(program, noise_wav):
    pytest.importorskip("ossicle.sim.fast", reason="the fast device is not installed")
    options = ("--model", program, "--json")
    fast = json.loads(ossicle("transcribe", noise_wav, "--engine", "fast", *options).stdout)
    functional = json.loads(ossicle("transcribe", noise_wav, "--engine", "functional", *options).stdout)
    assert (fast["text"], fast["lattice"]) == (functional["text"], functional["lattice"])
    assert fast["cycles"] > 0
    seconds = fast["cycles"] / (fast["clock_mhz"] * 1e6)
    assert fast["rtf"] == pytest.approx(seconds / fast["seconds"], rel=1e-3)
    assert sum(fast["frame_cycles"]) + fast["job_cycles"]["reset"] == fast["cycles"]


def test_profile_causes_are_all_of_the_cycles(tmp_path, program, noise_wav):
    pytest.importorskip("ossicle.sim.fast", reason="the fast device is not installed")
    trace = tmp_path / "t.json"
    done = ossicle("profile", noise_wav, "--model", program, "--trace", trace, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    *layers, whole = found["layers"]
    assert whole["cycles"] == found["cycles"] == sum(row["cycles"] for row in layers)
    assert whole["MACs done"] == found["counters"]["lane_products"]
    assert whole["MACs skipped"] == found["counters"]["macs_skipped"]
    for row in (row for row in found["layers"] if row["cycles"]):
        assert sum(v for k, v in row.items() if k.endswith("%")) == pytest.approx(100, abs=0.5)
    assert min(found["energy_pj"].values()) > 0
    assert whole["uJ"] == pytest.approx(sum(found["energy_pj"].values()) / 1e6)
    assert layers[-1]["layer"] == "instructions" and layers[-1]["bytes read"] % 32 == 0
    assert sum(row["bytes read"] for row in layers) == found["counters"]["read_beats"] * 8
    slices = [s for s in json.loads(trace.read_text())["traceEvents"] if s["ph"] == "X"]
    assert slices


def test_profile_in_chunks_says_the_same_with_fewer_bytes(tmp_path, untrained_checkpoint, noise_wav):
    """The schedule for traffic against a step at a time, on a memory that holds less than the model."""
    npu = tmp_path / "npu.toml"
    npu.write_text('preset = "base"\nweight_words = 1024\n')
    found = []
    for options in ([], ["--optimize", "traffic", "--chunk", "4"]):
        done = ossicle(
            "profile", noise_wav, "--model", untrained_checkpoint, "--npu", npu, *options, "--json"
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    apart, chunks = found
    assert apart["schedule"] is None and chunks["schedule"]["chunk"] == 4
    assert chunks["text"] == apart["text"] and chunks["dram_bytes"] < apart["dram_bytes"]
    assert chunks["jobs"]["encode.chunk"] < apart["jobs"]["encode"] / 2
    for one in found:
        *rows, every = one["limits"]
        assert every["cycles"] == one["cycles"] == sum(row["cycles"] for row in rows)
        assert all(0 <= row["bounded %"] <= 100 for row in one["limits"])
        assert every["limit"] == ("bus" if every["bus cycles"] > every["MAC cycles"] else "MAC")


@pytest.mark.parametrize("engine", ["functional", "fast"])
def test_understand(engine):
    done = ossicle("understand", "Turn on the kitchen lights!", "--engine", engine, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["intent"] == "switch" and found["posterior"] > 0.5
    assert found["slots"] == {"state": "on", "room": "kitchen", "device": "lights"}
    assert [found["text"][s["begin"] : s["end"]] for s in found["spans"]] == ["on", "kitchen", "lights"]
    assert (found["cycles"] is None) == (engine == "functional")


def test_understand_several_for_people():
    done = ossicle("understand", "call tony", "set a timer for ten minutes", "--engine", "functional")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("call (")
    assert "  duration: ten minutes" in done.stdout.splitlines()


def test_disasm(program):
    text = ossicle("disasm", program).stdout
    assert "encode:" in text
    assert " mac " in text
    found = json.loads(ossicle("disasm", program, "--json").stdout)
    assert found["entries"]["joint"][0]["text"] in text


def test_verify_finds_no_difference(program):
    pytest.importorskip("ossicle.sim.verify", reason="verify is not installed")
    for arguments in (["--random", 3], [program]):
        done = ossicle("verify", *arguments, "--no-rtl", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["programs"] == (3 if "--random" in arguments else 1)
        assert found["value_differences"] == found["cycle_differences"] == 0


def test_verify_of_a_recording(program, noise_wav):
    options = ("--engines", "functional,fast", "--model", program)
    done = ossicle("verify", noise_wav, noise_wav, *options, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["engines"] == ["fast", "functional"]
    assert found["value_differences"] == found["cycle_differences"] == 0
    assert found["first_difference"] is None
    transcribed = ossicle("transcribe", noise_wav, "--engine", "fast", "--model", program, "--json")
    text = json.loads(transcribed.stdout)["text"]
    for row in found["recordings"]:
        assert (row["file"], row["text"]) == (str(noise_wav), text)
        assert row["comparisons"][0]["words"] > 1000
    printed = ossicle("verify", noise_wav, *options)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.splitlines()[0] == f"{noise_wav}: {text}"
    assert printed.stdout.splitlines()[-1] == "first difference: none"


def test_bench_gemv_comes_near_the_ideal():
    pytest.importorskip("ossicle.sim.benchmarks", reason="the benchmarks are not installed")
    done = ossicle("bench", "gemv", "--lanes", 8, "--rows", 128, "--cols", 128, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lanes"] == 8
    assert all(row["ideal"] <= row["cycles"] for row in found["rows"])
    assert found["rows"][0]["cycles"] < 1.1 * found["rows"][0]["ideal"]


@pytest.mark.slow
@pytest.mark.rtl
def test_bench_rtl_says_where_the_time_goes():
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("building the simulator needs g++ and make")
    done = ossicle("bench", "rtl", "--npu", "small", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio_to_bare_cpp"] > 0.2
    assert sum(part["percent"] for part in found["parts"]) == pytest.approx(100)
    named = {part["part"]: part["seconds"] for part in found["parts"]}
    assert len(named) == 8 and named["cocotb: Python, VPI and link, each job"] > 0
    jobs = sum(part["seconds"] for part in found["parts"][:5])
    assert jobs == pytest.approx(found["cycles"] / found["cocotb_cycles_per_second"])


def test_bench_codec_says_what_compile_says(untrained_checkpoint):
    shape = ("--rows", "512", "--cols", "512")
    done = ossicle("bench", "codec", "--model", untrained_checkpoint, "--npu", "small", *shape, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    compiled = ossicle("compile", untrained_checkpoint, "--npu", "small", "-o", "/dev/null", "--json")
    layers = {row["layer"]: row["bits_per_weight"] for row in json.loads(compiled.stdout)["layers"]}
    assert {row["layer"]: row["bits_per_weight"] for row in found["layers"]} == layers
    assert 1 < found["ratio_to_entropy"] < 1.05
    assert {row["layer"] for row in found["contexts"]} == set(layers)
    assert len(found["synthetic"]) == 40 and all(0 < row["bus_use"] <= 1 for row in found["synthetic"])


def test_bench_of_a_recording_on_fast(program, noise_wav):
    done = ossicle("bench", "fast", noise_wav, "--against", "none", "--model", program, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["recording"], found["npu"]) == ("noise.wav", "base")
    transcribed = ossicle("transcribe", noise_wav, "--engine", "fast", "--model", program, "--json")
    assert found["cycles"] == json.loads(transcribed.stdout)["cycles"]
    assert found["fast_cycles_per_second"] == pytest.approx(found["cycles"] / found["fast_seconds"])
    assert "ratio" not in found


@pytest.mark.rtl
def test_rtl_says_what_fast_says(tmp_path, untrained_checkpoint):
    """Text, lattice, cycles of every frame; a clip of two frames on the small processor."""
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("building the simulator needs g++ and make")
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.random.default_rng(2).normal(0, 0.1, 200).clip(-1, 1), 16000)
    options = ("--npu", "small", "--model", untrained_checkpoint, "--beam", 2, "--json")
    rtl, fast = (ossicle("transcribe", clip, "--engine", engine, *options) for engine in ("rtl", "fast"))
    assert rtl.returncode == 0, rtl.stderr
    rtl, fast = json.loads(rtl.stdout), json.loads(fast.stdout)
    assert rtl["cycles"] > 0
    assert rtl | {"engine": "fast"} == fast
    verified = ossicle("verify", clip, *options)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    found = json.loads(verified.stdout)["recordings"][0]["comparisons"]
    assert [row["engines"] for row in found] == [["fast", "functional"], ["fast", "rtl"]]
    assert found[1]["cycles"] > rtl["cycles"]  # with those of the job that prepares
    assert found[1]["instructions"] > 100
    measured = ossicle("bench", "fast", clip, "--npu", "small", "--model", untrained_checkpoint, "--json")
    assert measured.returncode == 0, measured.stderr
    speed = json.loads(measured.stdout)
    assert speed["rtl_cycles_per_second"] == pytest.approx(speed["cycles"] / speed["rtl_seconds"])
    assert speed["ratio"] == pytest.approx(speed["rtl_seconds"] / speed["fast_seconds"])
    assert speed["ratio"] > 1


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.timeout(1800)
def test_verify_of_every_sample_on_the_verilog():
    """The README's claim: text, every word, every instruction's cycles, on all three engines."""
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("building the simulator needs g++ and make")
    samples = sample_files()
    assert len(samples) >= 4
    done = ossicle("verify", *samples, "--json", timeout=1790)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["engines"] == ["fast", "functional", "rtl"]
    for sample, row in zip(samples, found["recordings"], strict=True):
        assert row["file"] == str(sample)
        for one in row["comparisons"]:
            assert one["value_differences"] == one["cycle_differences"] == 0
            assert one["words"] > 10_000
        assert one["engines"] == ["fast", "rtl"]
        assert one["instructions"] > 1000


def test_doctor_says_what_is_missing():
    done = ossicle("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1)
    missing = [c["name"] for c in found["checks"] if c["needed"] and not c["there"]]
    assert found["ok"] == (not missing)
    assert all(c["advice"] for c in found["checks"] if not c["there"])
    without = ossicle("doctor", env={"PATH": "/nowhere", "HOME": "/tmp"})
    assert without.returncode == 1
    assert "g++" in without.stdout


BAD = {
    "no file": ["transcribe", "none.wav"],
    "no argument": ["transcribe"],
    "no command": ["frobnicate"],
    "no option": ["transcribe", "{wav}", "--frobnicate"],
    "no number": ["transcribe", "{wav}", "--beam", "many"],
    "no audio": ["transcribe", "{text}"],
    "a folder": ["transcribe", "."],
    "empty audio": ["transcribe", "{empty}"],
    "engine": ["transcribe", "{wav}", "--engine", "quantum"],
    "npu": ["transcribe", "{wav}", "--npu", "huge"],
    "npu file": ["transcribe", "{wav}", "--npu", "{toml}"],
    "beam": ["transcribe", "{wav}", "--beam", "0"],
    "nbest": ["transcribe", "{wav}", "--nbest", "0"],
    "music": ["transcribe", "{wav}", "--music", "100"],
    "model": ["transcribe", "{wav}", "--model", "none.safetensors"],
    "foreign model": ["transcribe", "{wav}", "--model", "{text}"],
    "damaged program": ["transcribe", "{wav}", "--model", "{damaged}"],
    "other npu": ["transcribe", "{wav}", "--model", "{program}", "--npu", "small", "--engine", "functional"],
    "output folder": ["transcribe", "{wav}", "--lattice", "nowhere/o.slf"],
    "transcribe with another net": ["transcribe", "{wav}", "--model", "{net}", "--engine", "functional"],
    "understand nothing": ["understand"],
    "understand no words": ["understand", "turn on the lights", "..."],
    "understand engine": ["understand", "turn on the lights", "--engine", "quantum"],
    "understand with a transducer": ["understand", "hello", "--model", "{program}", "--engine", "functional"],
    "compile audio": ["compile", "{wav}"],
    "compile nothing": ["compile", "none.safetensors"],
    "compile for speed": ["compile", "none.safetensors", "--optimize", "speed"],
    "compile chunk": ["compile", "none.safetensors", "--chunk", "many"],
    "compile long chunk": ["compile", "none.safetensors", "--chunk", "17"],
    "chunk of a program": ["transcribe", "{wav}", "--model", "{program}", "--chunk", "2"],
    "profile objective of a program": ["profile", "{wav}", "--model", "{program}", "--optimize", "traffic"],
    "disasm audio": ["disasm", "{wav}"],
    "verify nothing": ["verify"],
    "verify less than nothing": ["verify", "--random", "-1"],
    "verify a recording and a program": ["verify", "{wav}", "{program}"],
    "verify no recording": ["verify", "{text}", "--no-rtl"],
    "verify on one engine": ["verify", "{wav}", "--engines", "fast"],
    "verify on no engine": ["verify", "{wav}", "--engines", "fast,quantum"],
    "verify configs alone": ["verify", "--configs", "2"],
    "verify configs of a preset": ["verify", "--random", "2", "--configs", "2", "--npu", "small"],
    "verify random engines": ["verify", "--random", "1", "--engines", "fast,functional"],
    "bench": ["bench", "coffee"],
    "bench against": ["bench", "fast", "{wav}", "--against", "coffee"],
    "bench no recording": ["bench", "fast", "{text}"],
    "bench codec of a recording": ["bench", "codec", "{wav}"],
    "bench codec lanes": ["bench", "codec", "--lanes", "8"],
    "bench codec of no checkpoint": ["bench", "codec", "--model", "{text}"],
    "bench lanes of a program": ["bench", "fast", "--lanes", "8"],
    "bench rtl of a recording": ["bench", "rtl", "{wav}"],
    "bench lanes": ["bench", "gemv", "--lanes", "7"],
    "bench rtl beside scalesim": ["bench", "rtl", "--scalesim", "python3"],
    "bench rows": ["bench", "gemv", "--rows", "0"],
    "bench codec columns": ["bench", "codec", "--cols", "0"],
    "profile engine": ["profile", "{wav}", "--engine", "functional"],
    "window alone": ["profile", "{wav}", "--window", "1:2"],
    "window": ["profile", "{wav}", "--engine", "rtl", "--waves", "o.fst", "--window", "9:3"],
    "waves of fast": ["profile", "{wav}", "--waves", "o.fst"],
    "energy table": ["profile", "{wav}", "--energy", "{toml}"],
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(case, tmp_path, program, noise_wav):
    if case.startswith("verify"):
        pytest.importorskip("ossicle.sim.verify", reason="verify is not installed")
    files = {"wav": noise_wav, "program": program, "net": default_model(MEANINGS_MODEL)}
    contents = {"text": b"hello\n", "empty": b"", "toml": b"lanes = 3\n"}
    contents["damaged"] = program.read_bytes()[:-1000]
    for name, content in contents.items():
        files[name] = tmp_path / (name + {"damaged": ".npu", "toml": ".toml"}.get(name, ".wav"))
        files[name].write_bytes(content)
    before = sorted(tmp_path.iterdir())
    done = ossicle(*(argument.format(**files) for argument in BAD[case]), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    *notes, line = done.stderr.splitlines()
    assert line.startswith("ossicle: ")
    assert len(line) > 20
    assert "Traceback" not in done.stderr
    assert not [n for n in notes if n.startswith("ossicle:")]
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_is_clean(tmp_path, program):
    long = tmp_path / "long.wav"
    soundfile.write(long, [0.01, -0.01] * 16000 * 30, 16000)
    command = [*COMMAND, "transcribe", str(long), "--engine", "functional", "--model", str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "s of audio" in line:
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "ossicle: stopped"
