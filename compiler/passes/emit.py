"""Resolve addresses, encode instructions, put the Program together."""

from __future__ import annotations

from ossicle.compiler.chunk import CHUNK
from ossicle.compiler.graph import Format, Graph
from ossicle.compiler.passes.legalize import padded_bytes
from ossicle.compiler.plan import Plan, Step
from ossicle.compiler.program import IMAGE_SECTIONS, Entry, Origin, Program, Symbol
from ossicle.compiler.report import report
from ossicle.hw.config import GRANULE_BYTES, INSTRUCTION_BYTES
from ossicle.hw.isa import Opcode, encode, instruction


def emit(plan: Plan) -> Program:
    """Order of DRAM: code of each job, weights, constants, then the symbols. Jobs are padded with END."""
    counts = {name: len(steps) + len(steps) % 2 for name, steps in plan.routines.items()}
    bases, entries, address = {}, {}, 0
    for name, count in counts.items():
        entries[name] = Entry(address, count)
        address += count * INSTRUCTION_BYTES
    sizes = (address, len(plan.weights), len(plan.constants))
    bases["weights"], bases["constants"] = address, address + len(plan.weights)
    sections = {name: (sum(sizes[:i]), sizes[i]) for i, name in enumerate(IMAGE_SECTIONS)}
    top, symbols = sum(sizes), {}
    for name, made in plan.symbols.items():
        symbols[name] = Symbol(name, top, made.dtype, made.count, made.slots, made.stride)
        bases[name] = top
        top += made.slots * made.stride
    code, debug = bytearray(), {}
    for name, steps in plan.routines.items():
        padded = (*steps, *[Step(Opcode.END, {}, op="end")] * (counts[name] - len(steps)))
        for step in padded:
            code += _encode(step, bases)
        debug[name] = [Origin(step.op, step.layer) for step in padded]
    image = bytes(code) + plan.weights + plan.constants
    assert len(image) % GRANULE_BYTES == 0
    return Program(plan.config.digest(), image, sections, top, symbols, entries, debug, _meta(plan))


def _encode(step: Step, bases: dict[str, int]) -> bytes:
    operands = dict(step.operands)
    if step.place:
        operands["address"] = bases[step.place.base] + step.place.offset
    made = instruction(step.opcode, wait=step.wait, signal=step.signal, **operands)
    return encode(made).to_bytes(INSTRUCTION_BYTES, "little")


def _meta(plan: Plan) -> dict:
    """That of the graph; of a link name, config, and in `networks` that of each part."""
    rows = report(plan)
    if not plan.graph.networks:
        return _part_meta(plan, "", plan.graph, rows)
    networks = {
        part.removesuffix("/"): _part_meta(plan, part, graph, rows)
        for part, graph in plan.graph.networks.items()
    }
    return {"name": plan.graph.name, "config": plan.config.to_toml(), "networks": networks}


def _part_meta(plan: Plan, part: str, graph: Graph, rows: list[dict]) -> dict:
    """The graph's own, and: config (TOML), name, report (a row a layer), inputs (parts of a slot), chunk
    (steps of its job, if there is one).

    In a link also: away (whether its states lie in DRAM between jobs), and in the report uses (of a layer, a
    second). Names are those of the graph before its link.
    """
    inputs = {
        given.name.removeprefix(part): {
            "parts": len(given.parts),
            "count": given.parts[0].count,
            "stride": stride,
        }
        for routine in plan.graph.routines.values()
        if routine.name.startswith(part)
        and routine.steps == 1  # a slot of a job of several steps is one of its steps
        for given in routine.inputs
        if given.parts[0].format is not Format.LABEL
        for stride in [
            padded_bytes(given.parts[0], True)
            if given.parts[0].format is Format.ACTIVATION
            else plan.symbols[given.name].stride
        ]
    }
    made = {"name": graph.name, "config": plan.config.to_toml(), "inputs": inputs}
    if part + CHUNK in plan.graph.routines:
        made["chunk"] = plan.graph.routines[part + CHUNK].steps
    if part:
        made["away"] = part in plan.away
        rows = [
            {**row, "layer": row["layer"].removeprefix(part), "uses": plan.layers[row["layer"]].calls}
            for row in rows
            if row["layer"].startswith(part)
        ]
    return {**graph.meta, **made, "report": {"layers": rows}}
