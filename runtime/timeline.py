"""Charts of a run as inline SVG: what engines did in a job, where cycles went, how long each frame took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ossicle.compiler.program import Program
from ossicle.hw.isa import Engine
from ossicle.runtime.profile import Job
from ossicle.sim.trace import spans

COLORS = {
    "mac": "#0b6bcb", "bus": "#c0392b", "decode": "#e08e0b", "load": "#7d3c98", "vector": "#1e8449",
    "store": "#117a8b", "control": "#8a939c",
}  # fmt: skip
PALETTE = ("#0b6bcb", "#e08e0b", "#1e8449", "#7d3c98", "#c0392b", "#117a8b", "#b7950b", "#566573")
WIDTH, LABEL, TRACK = 1040, 70, 26


def job_timeline(job: Job, program: Program) -> str:
    """A track an engine, a block an instruction in the color of its layer; a tooltip says what it is."""
    origins = program.debug[job.entry]
    layers = list(dict.fromkeys(o.layer or o.op or "control" for o in origins))
    color = {layer: PALETTE[i % len(PALETTE)] for i, layer in enumerate(layers)}
    made = program.instructions(job.entry)
    engines = [e for e in Engine if e != Engine.CONTROL]
    scale = (WIDTH - LABEL) / max(1, job.cycles)
    height = TRACK * (len(engines) + 2)
    parts = [_open(WIDTH, height, f"timeline of {job.entry}")]
    for row, engine in enumerate(engines):
        parts.append(f'<text x="0" y="{row * TRACK + 17}">{engine.name.lower()}</text>')
    for engine, index, start, end, _ in spans(job.events).tolist():
        if engine == Engine.CONTROL:
            continue
        layer = origins[index].layer or origins[index].op or "control"
        x, y = LABEL + start * scale, engines.index(Engine(engine)) * TRACK + 3
        width = max(0.5, (end + 1 - start) * scale)
        title = f"{made[index].opcode.name} {layer}: cycles {start} to {end} ({end + 1 - start})"
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.2f}" height="{TRACK - 6}" fill="{color[layer]}">'
            f"<title>{escape(title)}</title></rect>"
        )
    parts.append(_key(color, TRACK * (len(engines) + 1)))
    return "".join([*parts, "</svg>"])


def _key(color: Mapping[str, str], y: int) -> str:
    parts, x = [], LABEL
    for layer, fill in color.items():
        parts.append(f'<rect x="{x}" y="{y - 10}" width="10" height="10" fill="{fill}"/>')
        parts.append(f'<text x="{x + 14}" y="{y}">{escape(layer)}</text>')
        x += 30 + 7 * len(layer)
    return "".join(parts)


def cause_bar(cycles: Mapping[str, int]) -> str:
    """One bar, a piece a cause; the pieces are 100 % of the cycles."""
    total, x = max(1, sum(cycles.values())), 0.0
    parts = [_open(WIDTH, 34, "cycles by cause")]
    for cause, count in cycles.items():
        width = WIDTH * count / total
        title = f"<title>{cause}: {count:,} cycles, {count / total:.1%}</title>"
        parts.append(
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="30" fill="{COLORS[cause]}">{title}</rect>'
        )
        if width > 60:
            parts.append(f'<text x="{x + 6:.1f}" y="20" style="fill:#fff">{count / total:.0%}</text>')
        x += width
    return "".join([*parts, "</svg>"])


def frame_chart(cycles: Sequence[int], clock_mhz: int, frame_ms: float = 60.0) -> str:
    """A bar a frame, in milliseconds at the clock, against the frame's own length."""
    if not cycles:
        return ""
    times = [count / clock_mhz / 1000 for count in cycles]
    height, top = 140, max(times) * 1.1
    width = max(2.0, min(24.0, (WIDTH - LABEL) / len(times)))
    parts = [_open(int(LABEL + width * len(times)) + 10, height + 24, "cycles of each frame")]
    parts.append(f'<text x="0" y="14">{top:.2f} ms</text><text x="0" y="{height}">0</text>')
    for i, (time, count) in enumerate(zip(times, cycles, strict=True)):
        tall = height * time / top
        parts.append(
            f'<rect x="{LABEL + i * width:.1f}" y="{height - tall:.1f}" width="{width * 0.8:.1f}" '
            f'height="{tall:.1f}" fill="{COLORS["mac"]}">'
            f"<title>frame {i}: {count:,} cycles, {time:.2f} ms of {frame_ms:.0f} ms</title></rect>"
        )
    return "".join([*parts, "</svg>"])


def _open(width: int, height: int, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    )
