"""One step of training as a CUDA graph a shape: thousands of small kernels at the cost of one launch.

A graph is recorded for each shape of a batch (resident.py has a dozen) and for each way the network rounds.
What it reads and writes stays where it was when it was recorded: inputs are copied in, gradients are
found in `grad` of the parameters, masks must be changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from ossicle.models.data.batches import Batch
from torch import Tensor, nn

Loss = Callable[[Batch], tuple[Tensor, Tensor]]
WARM_UP = 2  # passes before one is recorded, as libraries choose their kernels in the first


class GraphedStep:
    """Loss and gradients of batches.

    Args:
        loss: of a batch, what is minimized, and the transducer loss; its work must lie on the GPU alone.
        network: its parameters get their gradients.
    """

    def __init__(self, loss: Loss, network: nn.Module) -> None:
        self.loss = loss
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Batch, Tensor]] = {}
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: Batch, way: object) -> Tensor:
        """Gradients into `grad`; the transducer loss, which the next call overwrites.

        way: whatever else than the shapes decides what is computed.
        """
        key = (batch.features.shape, batch.labels.shape, way)
        if key not in self.graphs:
            self.graphs[key] = self._record(batch)
        graph, inputs, shown = self.graphs[key]
        for field in fields(Batch):
            getattr(inputs, field.name).copy_(getattr(batch, field.name))
        graph.replay()
        return shown

    def forget(self) -> None:
        """Drop the graphs; those of a network that rounds otherwise are of no more use."""
        self.graphs.clear()
        self.pool = torch.cuda.graph_pool_handle()  # the old one is gone with its last graph

    def _pass(self, batch: Batch, shown: Tensor) -> None:
        total, transducer = self.loss(batch)
        gradients = torch.autograd.grad(total, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            assert parameter.grad is not None
            if gradient is not None:
                parameter.grad.copy_(gradient)
        shown.copy_(transducer.detach())

    def _record(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Batch, Tensor]:
        inputs = Batch(*(getattr(batch, field.name).clone() for field in fields(Batch)))
        shown = torch.zeros((), device=batch.features.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._pass(inputs, shown)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self._pass(inputs, shown)
        return graph, inputs, shown
