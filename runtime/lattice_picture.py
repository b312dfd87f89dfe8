"""Pictures of a lattice: a few lines of text for a terminal, inline SVG for a report."""

from __future__ import annotations

from html import escape

from ossicle.runtime.lattice import Edge, Lattice

COLUMN, ROW, MARGIN = 120, 44, 36
STYLE = """
text{font:12px system-ui,sans-serif;fill:#1b1f24}.word{text-anchor:middle}.node{fill:#fff;stroke:#1b1f24}
.edge{fill:none;stroke:#9aa4ae;stroke-width:1.5}.best{stroke:#0b6bcb;stroke-width:3}
"""
PER_LINE = 6


def to_text(lattice: Lattice, width: int = 100, lines: int = 16) -> str:
    """A line a node: its time, and the words that leave it with their probability given the sentence so far.

    0.00 s (0)  play 96% -> 1 | say 4% -> 1
    """
    posterior = lattice.posteriors()
    shown = []
    for node, edges in enumerate(lattice.leaving[:-1]):
        ranked = sorted(edges, key=lambda e: (-posterior[e], e.word, e.destination))
        words = [f"{e.word or '(end)'} {posterior[e]:.0%} -> {e.destination}" for e in ranked[:PER_LINE]]
        more = f" | and {len(ranked) - PER_LINE} more" if len(ranked) > PER_LINE else ""
        line = f"{lattice.times[node]:6.2f} s ({node})  " + " | ".join(words) + more
        shown.append(line if len(line) <= width else line[: width - 1] + "…")
    if len(shown) > lines:
        shown = [*shown[: lines - 1], f"       … and {len(shown) - lines + 1} more nodes"]
    return "\n".join(shown)


def to_svg(lattice: Lattice) -> str:
    """Nodes in columns by their distance from the start, the likeliest path on the first row."""
    place = _places(lattice)
    posterior = lattice.posteriors()
    width = max(x for x, _ in place) + 2 * MARGIN
    height = max(y for _, y in place) + 2 * MARGIN + ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="word lattice">'
    ]
    parallel: dict[tuple[int, int], int] = {}
    best = set(lattice.best().edges)
    for edge in sorted(lattice.edges, key=lambda e: (e not in best, -posterior[e])):
        pair = (edge.source, edge.destination)
        parts.append(_edge(edge, place, parallel.get(pair, 0), posterior[edge], edge in best))
        parallel[pair] = parallel.get(pair, 0) + 1
    for node, (x, y) in enumerate(place):
        title = f"<title>node {node}, {lattice.times[node]:.2f} s</title>"
        parts.append(f'<circle cx="{x}" cy="{y}" r="6" class="node">{title}</circle>')
    return "".join([*parts, "</svg>"])


def to_picture(lattice: Lattice) -> str:
    """`to_svg` with its style, a file of its own."""
    return to_svg(lattice).replace(">", f"><style>{STYLE}</style>", 1)


def _places(lattice: Lattice) -> list[tuple[int, int]]:
    column = [0] * len(lattice.times)
    for edge in lattice.edges:
        column[edge.destination] = max(column[edge.destination], column[edge.source] + 1)
    on_best = {0} | {e.destination for e in lattice.best().edges}
    used: dict[int, int] = {}
    place = []
    for node, x in enumerate(column):
        row = 0 if node in on_best else used.get(x, 0) + 1
        used[x] = max(used.get(x, 0), row)
        place.append((MARGIN + x * COLUMN, MARGIN + ROW + row * 2 * ROW))
    return place


def _edge(edge: Edge, place: list[tuple[int, int]], nth: int, posterior: float, best: bool) -> str:
    (x0, y0), (x1, y1) = place[edge.source], place[edge.destination]
    far = (x1 - x0) // COLUMN - 1
    bend = (nth + far) * ROW * 0.6 * (-1 if nth % 2 else 1)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2 + bend
    label = f"{escape(edge.word) or '(end)'} {posterior:.0%}"
    kind = "edge best" if best else "edge"
    return (
        f'<path d="M{x0} {y0} Q{middle_x:.0f} {middle_y + bend:.0f} {x1} {y1}" class="{kind}"/>'
        f'<text x="{middle_x:.0f}" y="{middle_y - 6:.0f}" class="word">{label}</text>'
    )
