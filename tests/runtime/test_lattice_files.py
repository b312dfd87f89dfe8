"""A lattice in files of each format."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from ossicle.runtime.lattice import Edge, Lattice
from ossicle.runtime.lattice_files import FORMATS, write_lattice
from ossicle.runtime.lattice_fst import from_kaldi, from_openfst
from ossicle.runtime.lattice_io import from_slf
from ossicle.runtime.lattice_wire import decode

LATTICE = Lattice((0.0, 1.0), (Edge(0, 1, "a", -0.5, 0, 1, 0.25), Edge(0, 1, "b", -1.0, 0, 1)), -4.0)
READ = {
    ".slf": from_slf, ".kaldi": from_kaldi, ".fst": from_openfst, ".anything": from_slf, "": from_slf,
}  # fmt: skip


@pytest.mark.parametrize("suffix", READ)
def test_texts_are_read_again(tmp_path, suffix):
    write_lattice(tmp_path / f"made{suffix}", LATTICE)
    again = READ[suffix]((tmp_path / f"made{suffix}").read_text())
    assert [(p.text, p.score) for p in again.nbest(3)] == [("a", -4.5), ("b", -5.0)]
    assert again.times == ((0.0, 0.0) if suffix in (".kaldi", ".fst") else (0.0, 1.0))


def test_the_network_s_message_and_pictures(tmp_path):
    for suffix in FORMATS:
        write_lattice(tmp_path / f"made{suffix}", LATTICE)
    assert decode((tmp_path / "made.olat").read_bytes()) == LATTICE
    assert "a -0.50" in (tmp_path / "made.dot").read_text()
    picture = ElementTree.parse(tmp_path / "made.svg").getroot()
    assert next(iter(picture)).tag.endswith("style")
    assert "a 62%" in [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert (tmp_path / "made.syms").read_text() == "<eps> 0\na 1\nb 2\n"
    assert {path.suffix for path in tmp_path.iterdir()} == {*FORMATS, ".syms"}
