"""nextpnr's report (`--report --detailed-timing-report`): the clock, and the longest path into each part."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from ossicle.sim.utilization import NUMBER


@dataclass(frozen=True)
class Segment:
    """A piece of a path: where it begins and ends, nanoseconds."""

    kind: str
    """clk-to-q, logic, routing or setup."""
    begin: str
    end: str
    ns: float


@dataclass(frozen=True)
class Timing:
    """What a placed and routed netlist reaches."""

    fmax_mhz: float
    used: dict[str, tuple[int, int]]
    """By kind of site: used, there."""
    critical: list[Segment]
    worst_ns: dict[str, float]
    """By part, the latest arrival at one of its registers and memories, setup not counted."""

    def shares(self) -> dict[str, float]:
        """Nanoseconds of the critical path by kind of segment."""
        found: dict[str, float] = {}
        for one in self.critical:
            found[one.kind] = found.get(one.kind, 0) + one.ns
        return found


def read(report: str, root: str, parts: Collection[str]) -> Timing:
    """Read a report.

    Args:
        root: instance below which the parts lie, as nextpnr names it.
        parts: names of the parts, without numbers; what is in none of them belongs to "".
    """
    found = json.loads(report)
    clock, reached = max(found["fmax"].items(), key=lambda item: -item[1]["achieved"])
    path = next(p["path"] for p in found["critical_paths"] if p["from"] == p["to"] == f"posedge {clock}")
    segments = [Segment(s["type"], s["from"]["cell"], s["to"]["cell"], s["delay"]) for s in path]
    worst: dict[str, float] = {}
    for net in found.get("detailed_net_timings", ()):
        for end in net["endpoints"] if net["event"] == f"posedge {clock}" else ():
            part = part_of(end["cell"], root, parts)
            if part is not None and end["event"] == net["event"]:
                worst[part] = max(worst.get(part, 0), end["delay"][1])
    used = {name: (site["used"], site["available"]) for name, site in found["utilization"].items()}
    return Timing(reached["achieved"], used, segments, worst)


def part_of(cell: str, root: str, parts: Collection[str]) -> str | None:
    """Part that a cell belongs to by its name; None if it lies outside the root."""
    if not cell.startswith(f"{root}."):
        return None
    first = NUMBER.sub("", re.split(r"[.\[]", cell[len(root) + 1 :], maxsplit=1)[0])
    return first if first in parts else ""
