"""T5's relative position bias, one for each example instead of one for all.

The attention of this family looks its bias up once, without an axis for examples, so that the gradient which comes back
to the table is a sum over the batch. Here the same bias goes in once for each example, and its gradients stay apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.gradients.parameter_gradients import ParameterGradient


def bias_table(module: nn.Module) -> nn.Embedding | None:
    """The table of relative position biases that an attention module of the T5 family has."""
    table = getattr(module, "relative_attention_bias", None)
    return table if isinstance(table, nn.Embedding) and callable(getattr(module, "compute_bias", None)) else None


@contextmanager
def bias_by_example(
    module: nn.Module, table: nn.Embedding, examples: Callable[[], int], used: Callable[[nn.Embedding], None],
    arrived: Callable[[ParameterGradient], None],
) -> Iterator[None]:  # fmt: skip
    """Let `arrived` have the gradients of `table` whenever they come back; `used` hears of every lookup."""
    original: Any = module.compute_bias
    weight = cast(nn.Parameter, table.weight)
    ids: list[torch.Tensor] = []

    def compute(*args: Any, **kwargs: Any) -> torch.Tensor:
        shared: torch.Tensor = original(*args, **kwargs)
        places = ids[-1]
        if shared.shape != (1, table.embedding_dim, *places.shape):
            raise ModelError(f"the position bias of a {type(module).__name__} has an unknown shape")
        own = shared.detach().expand(examples(), *shared.shape[1:]).clone().requires_grad_()
        used(table)

        def back(gradient: torch.Tensor) -> None:  # (examples, heads, queries, keys)
            apart = gradient.permute(0, 2, 3, 1).flatten(1, 2)
            arrived(ParameterGradient(weight, apart, places.reshape(1, -1).expand(len(apart), -1), "lookup"))

        own.register_hook(back)
        return own

    def noted(_: nn.Module, args: tuple[torch.Tensor, ...], __: torch.Tensor) -> None:
        ids[:] = [args[0]]

    handle = table.register_forward_hook(noted)
    module.compute_bias = compute  # type: ignore[assignment]
    try:
        yield
    finally:
        handle.remove()
        del module.compute_bias
