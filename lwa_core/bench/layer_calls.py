"""Count the passes that a scorer or selector makes by itself, whatever it says of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lwa_core.modeling.layers.layered import LayeredModel, block_input, block_output


class LayerCalls:
    """Counts how many examples go through a model's layers, forward and backward.

    Args:
        model: Whose layers; a copy that is made of it while they are watched is counted too.
        examples: How many make up one pass.
    """

    def __init__(self, model: LayeredModel, examples: int) -> None:
        self.model, self.examples = model, examples
        self._rows = 0
        self._paused = 0

    @property
    def passes(self) -> float:
        """What was counted, in passes over the examples; a backward pass counts as one."""
        return self._rows / (self.examples * self.model.depth)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count what happens inside."""
        with ExitStack() as hooks:
            for layer in self.model.layers:
                hooks.callback(layer.register_forward_hook(self._hook(), with_kwargs=True).remove)
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens inside: it is counted elsewhere."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def _hook(self) -> Any:
        # A plain function: a deep copy of the model holds this one too, and so counts here.
        def count(rows: int) -> None:
            if not self._paused:
                self._rows += rows

        def after(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            rows = int(block_input(args, kwargs).shape[0])
            count(rows)
            out = block_output(output)
            if torch.is_tensor(out) and out.requires_grad:
                out.register_hook(lambda _: count(rows))

        return after
