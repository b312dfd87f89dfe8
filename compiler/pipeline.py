"""The passes, in their order, and why. A verifier runs after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ossicle.compiler.chunk import CHUNK
from ossicle.compiler.passes.allocate import allocate_parameters, allocate_tensors, allocate_weights
from ossicle.compiler.passes.balance import balance
from ossicle.compiler.passes.compress import compress
from ossicle.compiler.passes.legalize import legalize
from ossicle.compiler.passes.place_data import place_data
from ossicle.compiler.passes.prefetch import prefetch
from ossicle.compiler.passes.reside import reside_parameters, reside_weights
from ossicle.compiler.passes.reside_chunk import reside_chunk
from ossicle.compiler.passes.schedule import schedule
from ossicle.compiler.passes.synchronize import synchronize
from ossicle.compiler.passes.tables import group_tables
from ossicle.compiler.passes.tile import tile
from ossicle.compiler.plan import Plan
from ossicle.compiler.verifier import verify

PASSES: tuple[Callable[[Plan], Plan], ...] = (
    legalize,  # first: everything after it counts words and row slots
    reside_weights,  # before tiles: what stays needs none; the buffers' size bounds the others
    reside_parameters,
    tile,  # before balance: lanes wait for one another at the end of a tile
    balance,
    group_tables,  # after residency: only streamed layers need tables that last
    compress,  # after balance: codes follow the order of the banks
    allocate_weights,
    allocate_parameters,
    allocate_tensors,
    place_data,  # after balance: row parameters name lanes; after tensors: zeros as long as the states
    schedule,  # in program order
    prefetch,  # before tokens: they follow from the order
    synchronize,
)


def passes_of(plan: Plan) -> Iterator[Callable[[Plan], Plan]]:
    """The passes of a plan: with chunks of encoder steps, what stays on the chip is another question."""
    for change in PASSES:
        yield reside_chunk if change is reside_weights and CHUNK in plan.graph.routines else change


def run_passes(plan: Plan, trace: Callable[[str, Plan], None] | None = None) -> Plan:
    """All passes. `trace` is called after each with its name and the plan."""
    for change in passes_of(plan):
        plan = change(plan)
        verify(plan)
        if trace:
            trace(change.__name__, plan)
    return plan
