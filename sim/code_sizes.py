"""Bits that the weight code takes, beside the order-0 entropy and Arm's mlw code, and how fast it is decoded.

mlw is the code of the Ethos-U processors (package ethos-u-vela), given the weights row after row; where the
package is not installed, its columns are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.api import GEMV, compile_gemv, compile_graph
from ossicle.compiler.codec import entropy_bits
from ossicle.compiler.graph import Graph
from ossicle.compiler.program import Program
from ossicle.hw.config import GRANULE_BYTES, NpuConfig
from ossicle.hw.isa import Opcode
from ossicle.sim import trace
from ossicle.sim.benchmarks import run_gemv
from ossicle.sim.device import Device

try:
    from ethosu import mlw_codec
except ImportError:
    mlw_codec = None

ZEROS = (0.0, 0.5, 0.75, 0.9, 0.95)
SPREADS = {8: 26.9, 6: 8.0, 4: 2.0, 2: 0.8}
"""Standard deviation of synthetic weights by their bits."""
KINDS = ("gauss", "laplace")
SHAPE = (2048, 1024)
"""Rows and columns of a synthetic layer."""
SEED = 1


def mlw_bits(weights: NDArray[np.int8]) -> int | None:
    """Bits of the mlw code of all weights, padding and headers counted in; None without its package."""
    return 8 * len(mlw_codec.encode(weights.ravel().tolist())) if mlw_codec else None


def layers(graph: Graph, config: NpuConfig) -> list[dict]:
    """A row a layer of a model: bits a weight, tables, padding and initial states counted in."""
    rows = []
    for layer in compile_graph(graph, config).meta["report"]["layers"]:
        weight = graph.matrices[layer["layer"]].weight
        rows.append(_row({"layer": layer["layer"], "zeros": layer["zeros"]}, weight, layer["coded_bits"]))
    return rows


def _row(about: dict, weight: NDArray[np.int8], coded: float) -> dict:
    entropy, mlw, count = entropy_bits(weight), mlw_bits(weight), weight.size
    row = about | {
        "weights": count, "bits_per_weight": round(coded / count, 4), "entropy": round(entropy / count, 4),
        "ratio_to_entropy": round(coded / entropy, 4),
    }  # fmt: skip
    if mlw is not None:
        row |= {"mlw_bits_per_weight": round(mlw / count, 4), "ratio_to_mlw": round(coded / mlw, 4)}
    return row


def summary(rows: list[dict]) -> dict:
    """Of the layers of a model: all bits over all entropy, and the layer that does worst against mlw."""
    coded = sum(row["bits_per_weight"] * row["weights"] for row in rows)
    entropy = sum(row["entropy"] * row["weights"] for row in rows)
    ratios = [row["ratio_to_mlw"] for row in rows if "ratio_to_mlw" in row]
    found = {
        "bits_per_weight": round(coded / sum(row["weights"] for row in rows), 4),
        "ratio_to_entropy": round(coded / entropy, 4),
    }
    return found | ({"worst_layer_ratio_to_mlw": max(ratios)} if ratios else {})


def synthetic_weights(kind: str, bits: int, zeros: float, shape: tuple[int, int] = SHAPE) -> NDArray[np.int8]:
    """Independent weights of 2 to 8 bits, "gauss" or "laplace", a share of them zero whatever they were.

    Those of 0 % zeros have none; else a weight that rounds to zero is one too.
    """
    rng, spread, top = np.random.default_rng(SEED), SPREADS[bits], (1 << (bits - 1)) - 1
    drawn = rng.normal(0, spread, shape) if kind == "gauss" else rng.laplace(0, spread / 2**0.5, shape)
    weights = np.clip(np.rint(drawn), -top, top)
    if not zeros:
        weights = np.where(weights == 0, np.where(drawn < 0, -1, 1), weights)
    return np.where(rng.random(shape) < zeros, 0, weights).astype(np.int8)


def synthetic(
    device: Device, zeros: tuple[float, ...] = ZEROS, shape: tuple[int, int] = SHAPE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict]:  # fmt: skip
    """A row for each kind, bits and share of zeros: sizes as in `layers`, and how busy its bus was.

    `bus_use`: beats of the STREAM instructions of a streamed product, over the cycles from the start to the
    end of each: 1 where the decoder takes all that the bus can bring. `steady_bus_use`: the same but for the
    first, which waits for the memory to answer and for what other engines read at the start of a job.
    Tiles are those of the fewest bytes.
    """
    rows, cases = [], list(product(KINDS, SPREADS, zeros))
    for kind, bits, share in cases:
        weight = synthetic_weights(kind, bits, share, shape)
        program = compile_gemv(weight, device.config, resident=False, fewest_bytes=True)
        (layer,) = program.meta["report"]["layers"]
        about = {"kind": kind, "bits": bits, "zeros": layer["zeros"]}
        run_gemv(device, program, shape[1])
        use = {"bus_use": bus_use(device, program), "steady_bus_use": bus_use(device, program, 1)}
        rows.append(_row(about, weight, layer["coded_bits"]) | use)
        progress(len(rows), len(cases))
    return rows


def bus_use(device: Device, program: Program, skipped: int = 0) -> float:
    """See `synthetic`; of the job that the device has just run, without its first STREAMs if more follow."""
    spans, code = trace.spans(device.events()), program.instructions(GEMV)
    streams = [span for span in spans if code[span["index"]].opcode == Opcode.STREAM]
    streams = streams[skipped:] or streams
    granules = sum(code[span["index"]]["length"] for span in streams)
    cycles = sum(int(span["end"] - span["start"]) + 1 for span in streams)
    return round(granules * GRANULE_BYTES / (device.config.bus_bytes * cycles), 4)
