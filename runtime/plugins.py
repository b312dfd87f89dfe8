"""Commands that another room provides, found by name through the entry-point group `ossicle.commands`.

The runtime imports nothing of models/, nor torch: `ossicle train` and `ossicle evaluate` are looked up when
they are run.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from ossicle.runtime.console import Failure

GROUP = "ossicle.commands"


def plugin(name: str, extra: str) -> Callable:
    """The function behind a command.

    Args:
        extra: the extra of the package `ossicle` that installs what the command needs.
    Raises:
        Failure: what it needs is not installed.
    """
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise Failure(f"this installation has no entry point for {name!r}; install ossicle again")
    try:
        return found[0].load()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ossicle."):
            raise
        raise Failure(
            f'{name} needs {error.name}, which is not installed: pip install "ossicle[{extra}]"'
        ) from None
