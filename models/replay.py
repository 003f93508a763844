"""CUDA graphs: on a GPU, starting the kernels of one step for one motion takes longer than the step itself.

Never run on a GPU yet: benchmarks/README.md says what has been measured.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_CALLS = 12  # of a set of shapes before its graph is made, which takes as long as several of them
MOST_GRAPHS = 64  # that are kept


Graph = tuple[torch.cuda.CUDAGraph, list[Tensor | None], Tensor]  # the tensors it reads, and the one it writes


class Replayed:
    """`MaskedTransformer.features` as one graph for each set of shapes that comes often; as it is for the others.

    What it gives is overwritten by the next call of the same shapes.
    """

    def __init__(self, features: Callable[..., Tensor]):
        self.features = features
        self.calls: Counter[tuple] = Counter()
        self.graphs: dict[tuple, Graph] = {}
        self.pool = None  # of memory, which all graphs share: they never run at once

    def __call__(self, *inputs) -> Tensor:
        tensors = _flat(inputs)
        shapes = tuple(None if tensor is None else (tensor.shape, tensor.dtype) for tensor in tensors)
        if shapes not in self.graphs:
            self.calls[shapes] += 1
            if self.calls[shapes] <= EAGER_CALLS or len(self.graphs) >= MOST_GRAPHS:
                return self.features(*inputs)
            self.graphs[shapes] = self._capture(inputs)
        graph, held, output = self.graphs[shapes]
        for place, tensor in zip(held, tensors):
            if tensor is not None:
                place.copy_(tensor)
        graph.replay()
        return output

    def _capture(self, inputs: tuple) -> Graph:
        """A graph for inputs like these. Capturing runs nothing."""
        held = _copy(inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            output = self.features(*held)
        self.pool = self.pool or graph.pool()
        return graph, _flat(held), output


def _flat(inputs) -> list[Tensor | None]:
    """What nested tuples hold, in order."""
    return [tensor for part in inputs for tensor in _flat(part)] if isinstance(inputs, tuple) else [inputs]


def _copy(inputs):
    """Nested tuples with tensors of their own."""
    if isinstance(inputs, tuple):
        parts = map(_copy, inputs)
        return type(inputs)(*parts) if hasattr(inputs, "_fields") else tuple(parts)
    return None if inputs is None else inputs.clone()
