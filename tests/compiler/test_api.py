import numpy as np
import pytest
import random_models
from ossicle.compiler.api import compile_checkpoint, compile_gemv, compile_graph
from ossicle.compiler.plan import Options
from ossicle.compiler.report import format_report
from ossicle.hw.config import PRESETS
from ossicle.hw.isa import Opcode

ENTRIES = ["prepare", "reset", "encode", "predict", "joint"]


def test_a_checkpoint_becomes_a_program(tmp_path):
    header, tensors = random_models.checkpoint(np.random.default_rng(0))
    random_models.write_checkpoint(tmp_path / "tiny", header, tensors)
    program = compile_checkpoint(tmp_path / "tiny", PRESETS["base"], Options(slots={"logits": 8}))
    assert list(program.entries) == ENTRIES
    assert program.symbols["logits"].slots == 8 and program.symbols["features"].slots == 16
    assert program.meta["topology"] == random_models.TINY
    assert program.meta["tokenizer"] == "AAECAwQFBg=="
    assert program.meta["inputs"]["features"] == {"parts": 2, "count": 20, "stride": 32}


def test_the_same_model_gives_the_same_bytes():
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    first, second = (compile_graph(graph, PRESETS["base"]).to_bytes() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("lanes", [8, 64])
def test_resident_gemv_is_one_product(lanes):
    rng = np.random.default_rng(2)
    weights = rng.integers(-3, 4, (256, 128)).astype(np.int8)
    config = PRESETS["base"].replace(lanes=lanes, decoder_streams=8)
    program = compile_gemv(weights, config)
    assert [made.opcode for made in program.instructions("gemv")][:5] == [
        Opcode.LOAD, Opcode.MAC, Opcode.LINEAR, Opcode.STORE, Opcode.END,
    ]  # fmt: skip
    mac = program.instructions("gemv")[1]
    assert (mac["rows"], mac["words"]) == (256 // lanes, 8)


def test_streamed_gemv_takes_turns_between_two_buffers():
    program = compile_gemv(np.ones((256, 128), np.int8), PRESETS["small"], resident=False)
    made = program.instructions("gemv")
    places = [one["destination"] for one in made if one.opcode is Opcode.STREAM]
    assert len(set(places)) == min(2, len(places))
    assert all(one.opcode is not Opcode.STREAM for one in program.instructions("prepare"))


def test_report_counts_every_weight():
    graph = random_models.model(np.random.default_rng(1), random_models.TINY)
    rows = compile_graph(graph, PRESETS["small"]).meta["report"]["layers"]
    assert [row["layer"] for row in rows] == list(graph.matrices)
    for row in rows:
        matrix = graph.matrices[row["layer"]].weight
        assert row["weights"] == matrix.size
        assert row["zeros"] == pytest.approx(np.mean(matrix == 0), abs=1e-4)
        assert row["bits_per_weight"] * row["weights"] == pytest.approx(row["coded_bits"], rel=1e-3)
        assert row["balance"] >= 1 and 0 <= row["resident"] <= 1
    assert format_report(rows).count("\n") == len(rows)
