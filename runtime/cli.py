"""The command line. Each command is a module of `ossicle.runtime.commands`; errors end here.

Exit status: 0 done; 1 the command's own finding (a difference, something missing); 2 bad input, with one
line on stderr; 130 stopped by Ctrl-C. OSSICLE_DEBUG=1 shows the traceback of whatever stops a command.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer
from ossicle.runtime.console import Failure
from typer.core import TyperCommand

COMMANDS = (
    "transcribe", "listen", "enrol", "understand", "compile", "disasm", "verify", "profile", "bench", "train",
    "evaluate", "serve-rescorer", "synth", "doctor",
)  # fmt: skip

STOPPED = 130
"""Status after Ctrl-C, which typer gives too."""

app = typer.Typer(
    name="ossicle",
    help="Speech recognition on a neural processor, simulated cycle by cycle.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name in COMMANDS:
    _function = _name.replace("-", "_")
    _module = import_module(f"ossicle.runtime.commands.{_function}")
    app.command(_name, cls=getattr(_module, "COMMAND", TyperCommand))(getattr(_module, _function))
app.add_typer(import_module("ossicle.runtime.commands.update").update, name="update")


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"ossicle {installed('ossicle')}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit status."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    try:
        status = app(args=arguments, prog_name="ossicle", standalone_mode=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _say("stopped", STOPPED)
    except Exception as error:
        if os.environ.get("OSSICLE_DEBUG"):
            raise
        return _fail(error)
    if status == STOPPED:
        return _say("stopped", STOPPED)
    return status if isinstance(status, int) else 0


def _fail(error: Exception) -> int:
    usage = getattr(error, "format_message", None)  # a usage error of the click inside typer
    if usage is not None:
        return _say(_one_line(usage()), 2)
    if isinstance(error, ValueError | OSError | Failure | RuntimeError | ImportError | MemoryError):
        return _say(_one_line(str(error)) or type(error).__name__, getattr(error, "status", 2))
    return _say(
        f"internal error: {type(error).__name__}: {_one_line(str(error))} (OSSICLE_DEBUG=1 shows where)", 1
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(text: str, status: int) -> int:
    print(f"ossicle: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
