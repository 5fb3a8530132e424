"""The last projection of a block, found by what it does: whatever is added to its output is added to the block's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lwa_core import ModelError
from lwa_core.modeling import block_output


@attrs.frozen(eq=False)
class Branch:
    """A block whose output is a + gate ⊙ y, where y is what a projection gives and neither a nor gate depends on y.

    Args:
        block: The block.
        projection: A Linear of torch or a Conv1D of transformers, from some width to that of the states.
        gated: Whether any gate is another than 1.
    """

    block: nn.Module
    projection: nn.Linear | Conv1D
    gated: bool

    def fold(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Make the projection give A y + c; c must be 0 where it has no bias."""
        own, own_bias = self.projection.weight, self.projection.bias
        weight = weight.to(own.device)
        with torch.no_grad():
            if isinstance(self.projection, nn.Linear):
                own.copy_(weight @ own.double())
            else:  # a Conv1D keeps its weights the other way round
                own.copy_(own.double() @ weight.T)
            if own_bias is not None:
                own_bias.copy_(weight @ own_bias.double() + bias.to(own.device))


@contextmanager
def seen(
    projection: nn.Module, block: nn.Module, added: torch.Tensor | float | None = None
) -> Iterator[list[torch.Tensor]]:
    """Collect what a projection and its block give in the next pass, in this order.

    Args:
        projection: Inside the block.
        block: The block.
        added: What is added to the projection's output before the block goes on.
    """
    given: list[torch.Tensor] = []

    def projected(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        given[:] = [output]
        return None if added is None else output + added

    def left(_: nn.Module, __: Any, output: Any) -> None:
        given.append(block_output(output))

    hooks = [projection.register_forward_hook(projected), block.register_forward_hook(left)]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def last_projection(block: nn.Module, ask: Callable[[], Any], who: str) -> Branch:
    """The projection whose output enters that of its block coordinate by coordinate, and linearly.

    Args:
        block: The block.
        ask: Runs the model on a few examples.
        who: How messages call the block.

    Raises:
        ModelError: There is none: the block normalises what it has added (BERT and its kin), or its weights are codes.
    """
    for projection in reversed(_projections(block, ask)):
        plain = _outputs(projection, block, ask)
        gates = _outputs(projection, block, ask, 1.0) - plain
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(plain.shape, generator=generator).to(plain)
        moved = _outputs(projection, block, ask, drawn) - plain
        precision = 64 * torch.finfo(plain.dtype).eps
        close = precision * (1 + float(plain.abs().max()))
        if float(gates.abs().max()) > close and float((moved - gates * drawn).abs().max()) <= close:
            return Branch(block, projection, gated=float((gates - 1).abs().max()) > close)
    said = f"{who} has no projection whose output it hands on linearly, so that a map cannot be folded into it"
    raise ModelError(said, '`patch` takes on = "states" there')


def _projections(block: nn.Module, ask: Callable[[], Any]) -> list[nn.Linear | Conv1D]:
    """The linear maps of a block that give states, in the order in which they are called last."""
    called: dict[nn.Module, torch.Size] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        called.pop(module, None)
        called[module] = block_output(output).shape

    linear = [module for module in block.modules() if type(module) in (nn.Linear, Conv1D)]
    hooks = [module.register_forward_hook(note) for module in (*linear, block)]
    try:
        with torch.no_grad():
            ask()
    finally:
        for hook in hooks:
            hook.remove()
    return [module for module in called if module in linear and called[module] == called[block]]


def _outputs(
    projection: nn.Module,
    block: nn.Module,
    ask: Callable[[], Any],
    added: torch.Tensor | float | None = None,
) -> torch.Tensor:
    with torch.no_grad(), seen(projection, block, added) as given:
        ask()
    return given[1]
