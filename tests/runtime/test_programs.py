"""Which program a command runs."""

import pytest
from ossicle.compiler.plan import CompileError
from ossicle.runtime import programs
from ossicle.runtime.programs import DEFAULT_MODEL, SMALL_MODEL, load_program


@pytest.fixture
def shipped(monkeypatch, untrained_checkpoint, tmp_path):
    """A default model that needs more than `small` has, and a small one."""
    from ossicle.models.export import write_checkpoint
    from ossicle.models.untrained import untrained

    write_checkpoint(tmp_path / "wide.safetensors", untrained(hidden=384))
    models = {DEFAULT_MODEL: tmp_path / "wide.safetensors", SMALL_MODEL: untrained_checkpoint}
    monkeypatch.setattr(programs, "default_model", lambda name=DEFAULT_MODEL: models[name])
    return models


def test_a_processor_gets_the_largest_shipped_model_that_it_holds(shipped, capsys):
    program, config = load_program(None, "base")
    assert config.name == "base" and not capsys.readouterr().err
    small, config = load_program(None, "small")
    assert config.name == "small" and small.meta != program.meta
    assert "the small one is used" in capsys.readouterr().err


def test_a_model_that_is_named_is_never_replaced(shipped):
    with pytest.raises(CompileError, match="vector_words"):
        load_program(shipped[DEFAULT_MODEL], "small")


def test_what_fits_neither_is_refused_for_the_default(shipped, tmp_path):
    (tmp_path / "tiny.toml").write_text('preset = "small"\nvector_words = 300\n')
    with pytest.raises(CompileError, match="needs vector_words = 1200"):
        load_program(None, str(tmp_path / "tiny.toml"))
