"""Texts of automata, there and back, and as kaldifst reads them: it holds OpenFst and Kaldi's lattices."""

from __future__ import annotations

import pytest
from fake_model import PIECES, FakeModel
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ossicle.runtime.lattice import Edge, Lattice, build_lattice
from ossicle.runtime.lattice_fst import from_kaldi, from_openfst, to_kaldi, to_openfst
from ossicle.runtime.lattice_io import LatticeError

ALL = 10_000
BOOSTED = Lattice(
    (0.0, 0.5, 1.0),
    (
        Edge(0, 1, "ten", -0.5, 0, 0.5, 1.25), Edge(0, 1, "tin", -1.0, 0, 0.5, 0, -2.0),
        Edge(1, 2, "", -2.0, 0.5, 0.5), Edge(1, 2, "men", -0.125, 0.5, 1.0),
    ),
    -4.0,
)  # fmt: skip


def made(seed, frames=7):
    return build_lattice(FakeModel(seed, 6, 700).search(frames, beam=5).graph(), PIECES)


def check_paths(found, lattice):
    """Scores in their order, and each sentence's own: rounding may swap two that are nearly tied."""
    known = {path.words: path.score for path in lattice.nbest(ALL)}
    best = list(known.values())[: len(found)]
    assert [path.score for path in found] == pytest.approx(best, abs=2e-3)
    assert {path.words: path.score for path in found} == pytest.approx(
        {path.words: known[path.words] for path in found}, abs=2e-3
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
@example(18309)
def test_there_and_back(seed):
    lattice = made(seed)
    for text, again in (
        (to_kaldi(lattice), from_kaldi(to_kaldi(lattice))),
        (to_openfst(lattice)[0], from_openfst(to_openfst(lattice)[0])),
    ):
        assert text in (to_kaldi(again), to_openfst(again)[0])
        assert again.total == pytest.approx(lattice.total, abs=1e-4)
        assert len(again.nbest(ALL)) == len(lattice.nbest(ALL))
        check_paths(again.nbest(ALL), lattice)


def test_kaldi_holds_acoustics_and_the_rest_apart():
    assert "0 1 ten -1.2500,1.7500," in to_kaldi(BOOSTED) and "0 1 tin 2.0000,-1.0000," in to_kaldi(BOOSTED)
    again = from_kaldi(to_kaldi(BOOSTED))
    assert [e.acoustic for e in again.edges] == [e.acoustic for e in BOOSTED.edges]
    assert [e.language for e in again.edges] == [1.25, -2.0, 0.0, 0.0]


def test_states_in_any_order_dead_ends_and_many_finals():
    text = "7 3 a a 1\n7 5 b b 2\n3 5 c c\n5 8 d d 9\n3 0.5\n5 0.25\n9 9 e e\n"
    lattice = from_openfst(text)
    assert [(p.text, -p.score) for p in lattice.nbest(9)] == [("a c", 1.25), ("a", 1.5), ("b", 2.25)]
    assert len(lattice.times) == 4 and len(lattice.edges) == 5


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (from_kaldi, "", "begins with a line"),
        (from_kaldi, "a\n0 1 b\n", "line 2 is no line"),
        (from_kaldi, "a\n0 1 b 1,x,\n1 0,0,\n", "line 2 is no line"),
        (from_kaldi, "a\n0 1 b 1,nan,\n1 0,0,\n", "not finite"),
        (from_kaldi, "a\n0 1 b 1,1,\n", "arcs and a final state"),
        (from_openfst, "", "arcs and a final state"),
        (from_openfst, "0 1 a a 1\n1 0 b b\n1\n", "has no cycle"),
        (from_openfst, "0 x a a 1\n1\n", "line 1 is no line"),
        (from_openfst, "0 1 a a Infinity\n1\n", "not finite"),
        (from_openfst, "0 1 a a 1\n2\n", "no final state can be reached"),
    ],
)
def test_what_is_no_lattice_is_refused(read, text, message):
    with pytest.raises(LatticeError, match=message):
        read(text)


@pytest.fixture(scope="module")
def kaldifst():
    return pytest.importorskip("kaldifst", reason="needs kaldifst (the extra 'lattice')")


def paths_of(kaldifst, nbest, symbols):
    """(words, weight) of each path that kaldifst found."""
    found = []
    for path in kaldifst.convert_nbest_to_vector(nbest):
        linear, labels, _, weight = kaldifst.get_linear_symbol_sequence(path)
        assert linear
        found.append((tuple(symbols.find(label) for label in labels), weight))
    return found


@pytest.mark.parametrize("lattice", [BOOSTED, *(made(seed, 9) for seed in range(6))])
def test_openfst_finds_the_same_sentences_at_the_same_costs(kaldifst, lattice):
    text, table = to_openfst(lattice)
    symbols = kaldifst.SymbolTable.from_str(table)
    fst = kaldifst.compile(text, acceptor=False, isymbols=symbols, osymbols=symbols)
    assert fst.num_states == len(lattice.times)
    found = paths_of(kaldifst, kaldifst.shortest_path(fst, n=10), symbols)
    ours = lattice.nbest(10)
    assert found[0][0] == ours[0].words
    assert [weight.value for _, weight in found] == pytest.approx([-p.score for p in ours], abs=2e-3)
    assert {words for words, _ in found} <= {p.words for p in lattice.nbest(1000)}


@pytest.mark.parametrize("lattice", [BOOSTED, *(made(seed, 9) for seed in range(6))])
def test_we_read_what_openfst_writes(kaldifst, lattice):
    text, table = to_openfst(lattice)
    symbols = kaldifst.SymbolTable.from_str(table)
    fst = kaldifst.compile(text, acceptor=False, isymbols=symbols, osymbols=symbols)
    few = kaldifst.shortest_path(fst, n=5)  # numbered from the end
    lines = [line.split() for line in few.to_str(show_weight_one=True).splitlines()]
    named = [
        " ".join([*line[:2], *(symbols.find(int(label)) for label in line[2:4]), *line[4:]])
        if len(line) > 2 else " ".join(line)
        for line in lines
    ]  # fmt: skip
    check_paths(from_openfst("\n".join(named)).nbest(5), lattice)


@pytest.mark.parametrize("lattice", [BOOSTED, *(made(seed, 9) for seed in range(6))])
def test_kaldi_weights_both_costs_as_we_do(kaldifst, lattice):
    """Kaldi's own reader of this text is not in kaldifst: its fields are put in one by one."""
    _, *lines = to_kaldi(lattice).split("\n\n")[0].splitlines()
    words = ["<eps>", *sorted({e.word for e in lattice.edges if e.word})]
    fst = kaldifst.Lattice()
    for _ in lattice.times:
        fst.add_state()
    fst.start = 0
    for fields in map(str.split, lines):
        graph, acoustic, _ = fields[-1].split(",")
        weight = kaldifst.LatticeWeight(graph_cost=float(graph), acoustic_cost=float(acoustic))
        if len(fields) == 2:
            fst.set_final(state=int(fields[0]), weight=weight)
        else:
            label = words.index(fields[2])
            arc = kaldifst.LatticeArc(ilabel=label, olabel=label, weight=weight, nextstate=int(fields[1]))
            fst.add_arc(state=int(fields[0]), arc=arc)
    found = kaldifst.lattice_to_nbest(fst, n=5)
    for path, ours in zip(found, lattice.nbest(5), strict=True):
        linear, _, _, weight = kaldifst.get_linear_symbol_sequence(path)
        assert linear and weight.value1 + weight.value2 == pytest.approx(-ours.score, abs=2e-3)
        assert weight.value1 == pytest.approx(-ours.boost - ours.language, abs=2e-3)
