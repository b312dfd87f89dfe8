"""The compiler's front door: checkpoint, graph or matrix -> Program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ossicle.compiler.chunk import chunk
from ossicle.compiler.graph import Format, Graph, GraphError, Input, Linear, Matrix, Routine, Tensor
from ossicle.compiler.graph import verify as verify_graph
from ossicle.compiler.importer import import_checkpoint
from ossicle.compiler.passes.emit import emit
from ossicle.compiler.pipeline import run_passes
from ossicle.compiler.plan import CompileError, Options, Plan
from ossicle.compiler.program import Program
from ossicle.hw.config import NpuConfig
from ossicle.hw.isa import Function
from ossicle.hw.numerics import INT16_MAX, quantize_multiplier

GEMV = "gemv"


def compile_checkpoint(path: str | Path, config: NpuConfig, options: Options | None = None) -> Program:
    """Compile a checkpoint file.

    Raises:
        CheckpointError: a file that is no checkpoint.
        CompileError: a model that the configuration cannot hold.
    """
    return compile_graph(import_checkpoint(path), config, options)


def compile_graph(graph: Graph, config: NpuConfig, options: Options | None = None) -> Program:
    """Compile a graph. Raises CompileError if the configuration cannot hold it."""
    options = options or Options()
    verify_graph(graph)
    return emit(run_passes(Plan(_chunked(graph, options), config, options)))


def _chunked(graph: Graph, options: Options) -> Graph:
    try:
        return chunk(graph, options.chunk)
    except GraphError as error:
        raise CompileError(str(error)) from None


def compile_gemv(
    weights: NDArray[np.int8], config: NpuConfig, resident: bool = True, *, fewest_bytes: bool = False
) -> Program:
    """A single matrix-vector product, weights int8 [rows, columns].

    Jobs: `prepare`; `gemv`: argument 1 slot of `input` int8 [columns], 2 slot of `output` int16 [rows].
    """
    return compile_graph(gemv_graph(weights), config, Options(resident=resident, fewest_bytes=fewest_bytes))


def gemv_graph(weights: NDArray[np.int8]) -> Graph:
    """output = saturate16(round(weights @ input * scale)), one scale, so that no input saturates."""
    rows, columns = weights.shape
    largest = max(int(np.abs(weights.astype(np.int64)).sum(axis=1).max()) * 128, 1)
    multiplier, shift = quantize_multiplier(min(INT16_MAX / largest, 1.0))
    bias = np.zeros(rows, np.int32)
    matrix = Matrix(np.ascontiguousarray(weights), bias, np.repeat(multiplier, rows), np.repeat(shift, rows))
    given, made = Tensor("input", columns, Format.ACTIVATION), Tensor("output", rows, Format.PREACTIVATION)
    op = Linear("gemv", (given,), made, GEMV, Function.IDENTITY)
    routine = Routine(GEMV, (Input("input", (given,)),), (op,), made)
    return Graph(GEMV, {GEMV: matrix}, {}, {}, {GEMV: routine})
