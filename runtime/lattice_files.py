"""A lattice in a file, in the format of its suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ossicle.runtime.console import write_whole
from ossicle.runtime.lattice import Lattice
from ossicle.runtime.lattice_fst import to_kaldi, to_openfst
from ossicle.runtime.lattice_io import to_dot, to_slf
from ossicle.runtime.lattice_picture import to_picture
from ossicle.runtime.lattice_wire import encode

SYMBOLS = ".syms"
FORMATS: dict[str, Callable[[Lattice], str | bytes]] = {
    ".slf": to_slf, ".kaldi": to_kaldi, ".fst": lambda lattice: to_openfst(lattice)[0],
    ".dot": to_dot, ".svg": to_picture, ".olat": encode,
}  # fmt: skip
"""HTK's, Kaldi's text, OpenFst's (its symbols beside it), Graphviz, a picture, a message of the network."""


def write_lattice(path: Path, lattice: Lattice) -> None:
    """Write a lattice whole, in the format of the suffix, SLF where it names none; of `.fst` the symbol table
    too, as `.syms`.

    Raises:
        WireError: `.olat`, and a lattice that cannot be sent.
    """
    write_whole(path, FORMATS.get(path.suffix, to_slf)(lattice))
    if path.suffix == ".fst":
        write_whole(path.with_suffix(SYMBOLS), to_openfst(lattice)[1])
