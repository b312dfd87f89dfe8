"""What transcribe tells a person of a recording: the text on a line of its own, the rest below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ossicle.runtime.commands.rescorer import cloud_line
from ossicle.runtime.commands.scheduling import schedule_lines
from ossicle.runtime.lattice_picture import to_text
from ossicle.runtime.recognizer import Result


def print_result(row: dict, result: Result, written: dict[str, Path | None]) -> None:
    """A row of `transcribe`, its result, and the files that were written of it, by name."""
    print(row["text"])
    if "rescored" in row:
        print(f"  before rescoring: {row['rescored']['before']}")
    for rank, path in enumerate(result.nbest[1:], 2):
        score = row["nbest"][rank - 1]["score"] - row["nbest"][0]["score"]
        print(f"  {rank}. {path.text}  ({score:+.2f})")
    if result.lattice and result.lattice.words:
        print(f"lattice: {len(result.lattice.times)} nodes, {result.lattice.words} word edges")
        print(to_text(result.lattice))
    print("\n".join(_facts(row)))
    for name, path in written.items():
        if path:
            print(f"{name} written to {path}")


def _facts(row: dict) -> Iterator[str]:
    jobs = ", ".join(f"{count} {name}" for name, count in row["jobs"].items())
    if row["cycles"] is None:
        yield f"{row['engine']} device counts no cycles; jobs: {jobs}"
    else:
        milliseconds = row["cycles"] / row["clock_mhz"] / 1000
        yield (
            f"{row['cycles']:,} cycles on {row['npu']} ({row['engine']}) = {milliseconds:.1f} ms "
            f"at {row['clock_mhz']} MHz "
            f"for {row['seconds']:.2f} s of audio: real-time factor {row['rtf']:.4f}"
        )
        yield f"jobs: {jobs}"
    yield from schedule_lines(row["schedule"])
    if "language" in row:
        made = row["language"]
        heard = "given" if made["given"] else f"{made['probability']:.2f}"
        cycles = "" if made["cycles"] is None else f", {made['cycles']:,} cycles of its net"
        yield f"language: {made['code']} ({heard}{cycles})"
    if "context" in row:
        made = row["context"]
        cycles = "" if made["cycles"] is None else f" in {made['cycles']:,} cycles, once"
        yield f"context: {made['phrases']} phrases, {made['entries']} entries{cycles}"
        if row["attention_map"]:
            yield f"attention map written to {row['attention_map']}"
    if "boost" in row:
        made, found = row["boost"], row["nbest"][0]["boost"]
        by_sound = ", found by their sound too" if made.get("aliases") else ""
        yield (
            f"boosts: {made['phrases']} phrases, {made['weight']:g} a letter{by_sound}; "
            f"{found:+.2f} of this score"
        )
    if "rescorer" in row:
        yield cloud_line(row["rescorer"])
    if "rescored" in row:
        made = row["rescored"]
        cycles = "" if made["cycles"] is None else f", {made['cycles']:,} cycles"
        yield f"rescoring: {made['jobs']['step']} steps of the language model{cycles}"
