"""The page about a run: one HTML file, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.runtime.console import shown
from ossicle.runtime.driver import ENCODE
from ossicle.runtime.lattice_picture import to_svg as lattice_svg
from ossicle.runtime.profile import CAUSES, Job, LayerRow, Profile, layer_table
from ossicle.runtime.recognizer import Result
from ossicle.runtime.timeline import COLORS, cause_bar, frame_chart, job_timeline

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem}
body{color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.said{font-size:1.6rem;margin:.5rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .7rem;text-align:right}
td:first-child,th:first-child{text-align:left}
tr:nth-child(even){background:#f4f6f8}th{border-bottom:1px solid #8a939c}
.wide{overflow-x:auto}svg{max-width:none}svg text{font:12px system-ui,sans-serif;fill:#1b1f24}
svg .word{text-anchor:middle}svg .edge{fill:none;stroke:#9aa4ae;stroke-width:1.5}
svg .best{stroke:#0b6bcb;stroke-width:3}
svg .node{fill:#fff;stroke:#1b1f24}.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#e6e9ec}svg text{fill:#e6e9ec}
tr:nth-child(even){background:#1e2329}svg .node{fill:#15181c;stroke:#e6e9ec}}
"""


@dataclass(frozen=True)
class Utterance:
    """What was transcribed, where."""

    name: str
    result: Result
    seconds: float
    cycles: int | None
    engine: str


def html_report(said: Utterance, profile: Profile, program: Program, config: NpuConfig) -> str:
    """The page. Without cycles (the functional device) it has the words and the lattice alone."""
    parts = [_summary(said, config), _hypotheses(said.result)]
    layers = profile.layers() if said.cycles is not None else []
    if layers:
        parts += [_causes(layers), _layers(layers), _timeline(profile, program), _frames(profile, config)]
    body = "\n".join(parts)
    title = escape(f"{said.name}: {said.result.text}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _summary(said: Utterance, config: NpuConfig) -> str:
    rows = [
        ("audio", f"{said.seconds:.2f} s, {said.result.frames} frames"),
        ("processor", f"{config.name}: {config.lanes} lanes, {config.clock_mhz} MHz ({said.engine})"),
    ]
    if said.cycles is not None:
        seconds = said.cycles / (config.clock_mhz * 1e6)
        rows.append(("cycles", f"{said.cycles:,} = {seconds * 1000:.1f} ms"))
        rows.append(("real-time factor", f"{seconds / said.seconds:.4f}"))
    cells = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows)
    text = escape(said.result.text) or "(nothing)"
    return f'<h1>{escape(said.name)}</h1><p class="said">{text}</p><table>{cells}</table>'


def _hypotheses(result: Result) -> str:
    assert result.lattice is not None
    ranked = "".join(
        f"<tr><td>{escape(p.text) or '(nothing)'}</td><td>{p.score:.2f}</td></tr>" for p in result.nbest
    )
    return (
        f'<h2>Lattice</h2><div class="wide">{lattice_svg(result.lattice)}</div>'
        f"<h2>Hypotheses</h2><table><tr><th>sentence</th><th>log-probability</th></tr>{ranked}</table>"
    )


def _causes(layers: Sequence[LayerRow]) -> str:
    total = {cause: sum(row.causes[cause] for row in layers) for cause in CAUSES}
    key = "".join(f'<span class="key" style="background:{COLORS[c]}"></span>{c}' for c in CAUSES)
    return f"<h2>Where the cycles went</h2><p>{key}</p>{cause_bar(total)}"


def _layers(layers: Sequence[LayerRow]) -> str:
    rows = layer_table(layers)
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(v))}</td>" for v in r.values()) + "</tr>" for r in rows
    )
    return f'<h2>Layers</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _timeline(profile: Profile, program: Program) -> str:
    job = typical_job(profile, ENCODE)
    if job is None:
        return ""
    picture = job_timeline(job, program)
    return f'<h2>One frame of the encoder, {job.cycles:,} cycles</h2><div class="wide">{picture}</div>'


def _frames(profile: Profile, config: NpuConfig) -> str:
    frames: list[int] = []
    for job in profile.jobs:
        if job.entry == ENCODE:
            frames.append(0)
        if frames:
            frames[-1] += job.cycles
    return f'<h2>Cycles of each frame</h2><div class="wide">{frame_chart(frames, config.clock_mhz)}</div>'


def typical_job(profile: Profile, entry: str) -> Job | None:
    """The job of median length among those of an entry."""
    jobs = sorted((j for j in profile.jobs if j.entry == entry), key=lambda j: j.cycles)
    return jobs[len(jobs) // 2] if jobs else None
