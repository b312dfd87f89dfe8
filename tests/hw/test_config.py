"""NpuConfig: what it refuses, what it derives, TOML there and back."""

import pytest
from ossicle.hw.config import ALLOWED, PRESETS, ConfigError, NpuConfig


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_toml_round_trip(config):
    assert NpuConfig.from_toml(config.to_toml()) == config


@pytest.mark.parametrize("name", PRESETS)
def test_load_preset(name):
    assert NpuConfig.load(name) == PRESETS[name]
    assert PRESETS[name].name == name


def test_load_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('preset = "small"\nlookahead = 9\n')
    assert NpuConfig.load(path) == PRESETS["small"].replace(lookahead=9, name="custom")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 2", "configuration of version 2; this Ossicle reads version 1"),
        ('preset = "huge"', "no such preset; there are small, base, large"),
        ("lanez = 4", "no such parameter: lanez"),
        ("lanes = 3", "lanes = 3 is not possible; use one of 4, 8, 16"),
        ('lanes = "8"', "lanes must be an integer, not '8'"),
        ("lanes = true", "lanes must be an integer, not True"),
        ("lanes = = 3", "not TOML"),
    ],
)
def test_load_names_the_file_and_the_reason(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        NpuConfig.load(path)
    assert str(path) in str(error.value)


def test_load_refuses_what_is_neither_preset_nor_file():
    with pytest.raises(ConfigError, match=r"nowhere\.toml is neither a preset \(small, base, large\)"):
        NpuConfig.load("nowhere.toml")


@pytest.mark.parametrize("name", ALLOWED)
def test_out_of_range(name):
    allowed = ALLOWED[name]
    too_much = (allowed.stop if isinstance(allowed, range) else allowed[-1]) + 1
    with pytest.raises(ConfigError, match=f"{name} = {too_much} is not possible"):
        PRESETS["large"].replace(**{name: too_much})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_streams": 16}, "decoder_streams = 16 is more than lanes = 8"),
        ({"lanes": 4, "vector_width": 8}, "vector_width = 8 is more than lanes = 4"),
        ({"bus_bits": 256, "burst_beats": 128}, None),
    ],
)
def test_parameters_that_do_not_fit_together(changes, message):
    if message is None:
        assert PRESETS["small"].replace(**changes).burst_beats * 32 == 4096
        return
    with pytest.raises(ConfigError, match=message):
        PRESETS["small"].replace(**changes)


def test_derived():
    base = PRESETS["base"]
    assert (base.bus_bytes, base.beats_per_granule) == (8, 4)
    assert (base.lanes_per_stream, base.units_per_step) == (1, 2)
    assert base.weight_bytes == 1 << 20
    # One step of 32 streams of 11 bits, in whole beats of 64, and two beats.
    assert base.window_bits == 384 + 128


def test_digest_names_what_a_program_depends_on():
    base = PRESETS["base"]
    assert base.replace(name="x", clock_mhz=1, dram_latency=0).digest() == base.digest()
    matters = ALLOWED.keys() - {"clock_mhz", "dram_latency", "lanes"}
    digests = {base.replace(**{name: ALLOWED[name][0]}).digest() for name in matters}
    assert len(digests | {base.digest()}) == len(matters) + 1
