"""The program a command runs: a compiled file, a checkpoint compiled on the spot, or the shipped model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ossicle.compiler.api import compile_checkpoint
from ossicle.compiler.biasing import compile_biased
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.link import NETWORKS
from ossicle.compiler.optimize import Request, compile_for
from ossicle.compiler.plan import CompileError
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import Failure, note

DEFAULT_NPU = "base"
DEFAULT_MODEL = "weights/commands.safetensors"
SMALL_MODEL = "weights/commands-small.safetensors"  # where the default does not fit
MEANINGS_MODEL = "weights/nlu.safetensors"
LANGUAGE_MODEL = "weights/lm.safetensors"
CLOUD_MODEL = "weights/lm-cloud.safetensors"  # of the rescoring service
LANGUAGES_NET = "weights/language.safetensors"
BIASING_MODEL = "weights/biasing.safetensors"
SAMPLES = "weights/samples"


def default_model(name: str = DEFAULT_MODEL) -> Path:
    """A checkpoint that is shipped.

    Raises:
        Failure: this installation has none.
    """
    model = _models_folder() / name
    if not model.is_file():
        raise Failure(f"the shipped model {model} is missing; give one with --model CHECKPOINT")
    return model


def sample_files() -> list[Path]:
    """Recordings that are shipped, by name."""
    return sorted((_models_folder() / SAMPLES).glob("*.wav"))


def _models_folder() -> Path:
    """Where `ossicle.models` lies: a namespace, which importlib.resources cannot open when editable."""
    spec = find_spec("ossicle.models")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return next((place for place in places if place.is_dir()), Path("models"))


def load_program(
    model: Path | None, npu: str | None, biasing: Path | None = None, request: Request | None = None
) -> tuple[Program, NpuConfig]:
    """The program for `--model` and `--npu`, and its configuration; a compiled program brings its own.

    Args:
        biasing: an adapter's checkpoint, for context phrases.
        request: what the schedule is for; None: as the compiler does by itself.
    Raises:
        Failure, ProgramError, CheckpointError, ConfigError, CompileError: one line each.
    """
    config = NpuConfig.load(npu) if npu is not None else None
    if model is not None and not model.is_file():
        raise Failure(f"{model}: {'a folder, not a model' if model.is_dir() else 'no such file'}")
    if biasing is not None and model is not None and model.suffix == ".npu":
        raise Failure(f"{model} is compiled already; with --biasing, give --model the checkpoint it is of")
    if biasing is not None:
        config = config or NpuConfig.load(DEFAULT_NPU)
        return compile_biased(model or default_model(), biasing, config, request), config
    if model is not None and model.suffix == ".npu":
        if request is not None:
            raise Failure(f"{model} is compiled already; --optimize and --chunk are for checkpoints")
        program = read_program(model, config)
        return program, config or program.config
    config = config or NpuConfig.load(DEFAULT_NPU)
    return (_compiled(model, config, request) if model else _shipped(config, request)), config


def read_program(path: Path, config: NpuConfig | None = None) -> Program:
    """A compiled program of one network; with `config` only one for that processor.

    Raises:
        ProgramError: not such a file, or a program for another processor.
        Failure: a link of several networks, none of which has its own names in it.
    """
    program = Program.load(path, config)
    if NETWORKS in program.meta:
        names = ", ".join(program.meta[NETWORKS])
        raise Failure(f"{path} is a link of several networks ({names}); give the checkpoint of one of them")
    return program


def _compiled(model: Path, config: NpuConfig, request: Request | None) -> Program:
    if request is None:
        return compile_checkpoint(model, config)
    return compile_for(import_checkpoint(model), config, request)


def _shipped(config: NpuConfig, request: Request | None) -> Program:
    """The shipped model, or the small one on a processor that cannot hold it."""
    try:
        return _compiled(default_model(), config, request)
    except CompileError as error:
        try:
            program = _compiled(default_model(SMALL_MODEL), config, request)
        except (CompileError, Failure):
            raise error from None
        note(f"{config.name} does not hold the larger model ({error}): the small one is used")
        return program
