"""The choice of a schedule for an objective: how many encoder steps a job takes, and what stays on the chip.

    latency    a step at a time: no step waits for another
    traffic    the fewest DRAM bytes for each second of audio: in the choice of tiles too
    energy     the least energy, which a table of energies says of each candidate's counts

A chunk of c steps streams a layer's weights once for c steps, and makes the first wait for c - 1 more.
Candidates are estimated, not compiled: bytes at the entropy of the weights, cycles by layer as the longer of
bus and lanes (`passes/reside_chunk.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from ossicle.compiler.api import compile_graph
from ossicle.compiler.chunk import CHUNK, ENCODE, chunk, why_not
from ossicle.compiler.graph import Graph
from ossicle.compiler.passes.allocate import allocate_tensors
from ossicle.compiler.passes.legalize import legalize
from ossicle.compiler.passes.reside import reside_weights
from ossicle.compiler.passes.reside_chunk import NEAR, Costs, Filling, fastest, fillings, leanest
from ossicle.compiler.plan import CompileError, Options, Plan
from ossicle.compiler.program import Program
from ossicle.hw.config import GRANULE_BYTES, NpuConfig

LATENCY, TRAFFIC, ENERGY = "latency", "traffic", "energy"
OBJECTIVES = (LATENCY, TRAFFIC, ENERGY)
MOST_STEPS = 16
"""Longest chunk that is tried: a second of audio, about."""
Counts = dict[str, float]
"""Of a step of the encoder, by the names of `registers.COUNTERS`."""
Price = Callable[[Counts, NpuConfig], dict[str, float]]
"""Picojoules of counts, by part."""


@dataclass(frozen=True)
class Request:
    """What a schedule is wanted for.

    Args:
        chunk: steps of a job; None lets the compiler choose.
        price: energy of counts; needed for the objective energy.
    """

    objective: str = LATENCY
    chunk: int | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise CompileError(f"there is no objective {self.objective!r}; there are {known}")
        if self.chunk is not None and not 1 <= self.chunk <= MOST_STEPS:
            raise CompileError(
                f"a chunk of {self.chunk} steps is not possible; use 1 to {MOST_STEPS}, or auto"
            )
        if self.objective == ENERGY and self.price is None:
            raise CompileError("the objective energy needs a table of energies")


@dataclass(frozen=True)
class Candidate:
    """A chunk of so many steps with its best residence, estimated for each step of the encoder."""

    steps: int
    bytes: float
    """Weights read from DRAM, with those of the prediction and the joint (`Routine.calls` jobs a step)."""
    cycles: float
    counts: Counts = field(default_factory=dict)
    filling: Filling | None = None
    energy: float | None = None
    """Picojoules."""
    refused: str = ""
    """Why the chip cannot hold it; empty if it can."""


def compile_for(graph: Graph, config: NpuConfig, request: Request, options: Options | None = None) -> Program:
    """Compile with the schedule that suits a request; `meta["report"]["schedule"]` says which, and why.

    Raises:
        CompileError: a chunk that the graph or the configuration cannot have.
    """
    options = replace(options or Options(), fewest_bytes=request.objective == TRAFFIC)
    found = candidates(graph, config, request, options)
    chosen = choose(found, request)
    if chosen.refused:
        raise CompileError(f"a chunk of {chosen.steps} steps: {chosen.refused}")
    residence = chosen.filling.residence if chosen.filling else None
    program = compile_graph(graph, config, replace(options, chunk=chosen.steps, residence=residence))
    schedule = describe(graph, config, program, request, found, chosen)
    report = {**program.meta["report"], "schedule": schedule}
    return replace(program, meta={**program.meta, "report": report})


def candidates(graph: Graph, config: NpuConfig, request: Request, options: Options) -> list[Candidate]:
    """Those that the request allows, shortest chunk first; the first that does not fit is the last."""
    reason = why_not(graph)
    if request.chunk not in (None, 1) and reason:
        raise CompileError(f"chunks of {request.chunk} steps are not possible: {reason}")
    if reason and ENCODE not in graph.routines:
        return [Candidate(1, 0.0, 0.0)]
    found = [_one_step(graph, config, options)]
    if request.chunk is not None and request.chunk > 1:
        found.append(_chunk(graph, config, request, options, request.chunk))
    elif request.chunk is None and request.objective != LATENCY and not reason:
        for steps in range(2, MOST_STEPS + 1):
            found.append(_chunk(graph, config, request, options, steps))
            if found[-1].refused:
                break
    if request.price is not None:
        price = request.price
        found = [
            replace(one, energy=sum(price(one.counts, config).values())) if one.counts else one
            for one in found
        ]
    return found


def choose(found: list[Candidate], request: Request) -> Candidate:
    """The shortest chunk of those that are near the best; the wanted one, where one was asked for."""
    if request.chunk is not None:
        return found[-1] if request.chunk > 1 else found[0]
    fitting = [one for one in found if not one.refused]
    if request.objective == LATENCY:
        return fitting[0]

    def cost(one: Candidate) -> float:
        return one.bytes if request.objective == TRAFFIC else one.energy or 0.0

    least = min(map(cost, fitting))
    return next(one for one in fitting if cost(one) <= NEAR * least)


def _chunk(graph: Graph, config: NpuConfig, request: Request, options: Options, steps: int) -> Candidate:
    plan = legalize(Plan(chunk(graph, steps), config, replace(options, chunk=steps)))
    try:
        allocate_tensors(plan)
    except CompileError as error:
        return Candidate(steps, 0.0, 0.0, refused=str(error))
    costs = Costs(plan)
    best = (fastest if request.objective == LATENCY else leanest)(fillings(costs))
    if best is None:
        return Candidate(steps, 0.0, 0.0, refused=f"nothing fits weight_words = {config.weight_words}")
    return Candidate(steps, best.bytes, best.cycles, _counts(plan, best.bytes, CHUNK, steps), best)


def _one_step(graph: Graph, config: NpuConfig, options: Options) -> Candidate:
    """As `reside_weights` decides: bytes of what does not stay, cycles the longer of bus and lanes."""
    plan = reside_weights(legalize(Plan(graph, config, options)))
    costs, moved, cycles = Costs(plan, ENCODE), 0.0, 0.0
    for layer in plan.layers.values():
        brought = layer.calls * (layer.slots - layer.resident_slots) * costs.slot_bytes(layer)
        moved += brought
        tile = plan.weight_buffer // layer.words if layer.resident_slots < layer.slots else layer.slots
        lanes = costs.lanes(layer, layer.calls, tile)
        cycles += max(costs.bus(brought, layer, plan.weight_buffer), lanes)
    return Candidate(1, moved, cycles, _counts(plan, moved, ENCODE, 1))


def _counts(plan: Plan, moved: float, entry: str, steps: int) -> Counts:
    """What an energy is a sum of: useful and skipped products, vector steps and beats, a step."""
    costs = Costs(plan, entry)
    uses = {layer.name: float(layer.calls) for layer in costs.others}
    uses |= {layer.name: costs.uses[layer.name] / steps for layer in costs.inputs}
    uses |= {layer.name: costs.uses[layer.recurrent_of] / steps for layer in costs.recurrent}
    products = sum(uses[name] * np.count_nonzero(layer.weight) for name, layer in plan.layers.items())
    dense = sum(uses[name] * layer.weight.size for name, layer in plan.layers.items())
    return {
        "lane_products": float(products),
        "macs_skipped": float(dense - products),
        "vector_busy": sum(uses[name] * layer.steps for name, layer in plan.layers.items()),
        "read_beats": moved / plan.config.bus_bytes,
        "write_beats": 0.0,
    }


def describe(
    graph: Graph,
    config: NpuConfig,
    program: Program,
    request: Request,
    found: list[Candidate],
    chosen: Candidate,
) -> dict:
    """Plain numbers and one sentence: what was chosen, for what, and what else there was."""
    seconds = step_seconds(graph)
    entry = CHUNK if chosen.steps > 1 else ENCODE
    rows = [_row(one, config, seconds) for one in found]
    return {
        "objective": request.objective,
        "chunk": chosen.steps,
        "step_ms": None if seconds is None else round(1000 * seconds, 3),
        "added_latency_ms": rows[found.index(chosen)]["added_latency_ms"],
        "layers": list(_layers(program, entry, chosen.steps, seconds)) if entry in program.entries else [],
        "candidates": rows,
        "why": _why(graph, request, found, chosen),
    }


def _row(one: Candidate, config: NpuConfig, seconds: float | None) -> dict:
    waiting = None if seconds is None else 1000 * seconds * (one.steps - 1)
    computing = float(one.cycles) * (one.steps - 1) / config.clock_mhz / 1000
    known = not one.refused
    return {
        "chunk": one.steps,
        "bytes_per_second": round(one.bytes / seconds) if seconds and known else None,
        "cycles_per_step": round(one.cycles) if known else None,
        "uj_per_second": None if one.energy is None or not seconds else round(one.energy / 1e6 / seconds, 1),
        "added_latency_ms": None if waiting is None or not known else round(waiting + computing, 1),
        "refused": one.refused,
    }


def _layers(program: Program, entry: str, steps: int, seconds: float | None) -> Iterator[dict]:
    """DRAM bytes of a layer's weights and row parameters in the encoder's job, for each second of audio."""
    kept = {row["layer"]: row for row in program.meta["report"]["layers"]}
    moved: dict[str, int] = {}
    for made, origin in zip(program.instructions(entry), program.debug[entry], strict=True):
        if origin.layer and "length" in made.operands:
            moved[origin.layer] = moved.get(origin.layer, 0) + GRANULE_BYTES * made["length"]
        elif origin.layer:
            moved.setdefault(origin.layer, 0)
    for name, row in kept.items():
        if name not in moved:
            continue
        size = moved[name]
        yield {
            "layer": name,
            "resident": row["resident"],
            "held": row["held"],
            "bytes_per_step": round(size / steps),
            "bytes_per_second": None if seconds is None else round(size / steps / seconds),
        }


def _why(graph: Graph, request: Request, found: list[Candidate], chosen: Candidate) -> str:
    reason = why_not(graph)
    if request.chunk is not None:
        return f"a chunk of {chosen.steps} was asked for"
    if request.objective == LATENCY:
        return "a step at a time: in a chunk the first step would wait for the last"
    if reason:
        return f"a step at a time: {reason}"
    what = "DRAM bytes" if request.objective == TRAFFIC else "energy"
    if chosen.steps == 1:
        return f"a step at a time: no chunk needs less {what} by more than {NEAR - 1:.0%}"
    text = f"the least {what} of chunks up to {max(one.steps for one in found if not one.refused)}"
    refused = next((one for one in found if one.refused), None)
    return f"{text}; {refused.steps} do not fit: {refused.refused}" if refused else text


def step_seconds(graph: Graph) -> float | None:
    """Audio of one encoder step; None if the graph does not say."""
    try:
        frontend = graph.meta["frontend"]
        frame = frontend["hop_samples"] * frontend["stack"] / frontend["sample_rate"]
    except (KeyError, TypeError):
        return None
    return frame * len(graph.routines[ENCODE].inputs[0].parts) if ENCODE in graph.routines else None
