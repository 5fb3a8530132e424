"""What attention looks at, without making the model compute it in its slow form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from lwa_core.errors import ModelError
from lwa_core.modeling.layered import LayeredModel


@contextmanager
def attention_probabilities(model: LayeredModel) -> Iterator[list[torch.Tensor]]:
    """Collect the attention probabilities of every layer in the next forward pass.

    The list that is yielded holds, after the pass, one tensor (examples, heads, queries, keys) a layer. Computed again
    from the arguments of each call of `scaled_dot_product_attention`; where a layer calls it more than once (encoder
    and cross attention), its first call counts.

    Raises:
        ModelError: A layer did not call it (on leaving the context).
    """
    found: dict[int, torch.Tensor] = {}
    current: list[int] = []
    with ExitStack() as stack:
        for index, layer in enumerate(model.layers):
            stack.callback(layer.register_forward_pre_hook(lambda *_, i=index: current.append(i)).remove)
            stack.callback(layer.register_forward_hook(lambda *_: current.clear()).remove)
        stack.enter_context(_Listener(found, current))
        probabilities: list[torch.Tensor] = _InOrder(model.depth, found)
        yield probabilities


class _InOrder(list[torch.Tensor]):
    """The layers' tensors in order, read once the pass is over."""

    def __init__(self, depth: int, found: dict[int, torch.Tensor]) -> None:
        super().__init__()
        self.depth, self.found = depth, found

    def __iter__(self) -> Iterator[torch.Tensor]:
        missing = [layer for layer in range(self.depth) if layer not in self.found]
        if missing:
            raise ModelError(
                f"layers {missing} do not use scaled_dot_product_attention, so their attention cannot be seen",
                'leave out the scorers of attention, or load the model with attn_implementation="sdpa"',
            )
        return iter([self.found[layer] for layer in range(self.depth)])


class _Listener(TorchFunctionMode):
    """Sees every call of `scaled_dot_product_attention`."""

    def __init__(self, found: dict[int, torch.Tensor], current: list[int]) -> None:
        super().__init__()
        self.found, self.current = found, current

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self.current and self.current[-1] not in self.found:
            with torch.no_grad():
                self.found[self.current[-1]] = _probabilities(*args, **kwargs)
        return func(*args, **kwargs)


def _probabilities(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,  # noqa: ARG001 -- the arguments are those of the function that is listened to
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """The softmax inside scaled dot-product attention, as torch documents it; rows that see nothing are zero."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    logits = query @ key.transpose(-2, -1) * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        logits = logits.masked_fill(~seen, -torch.inf)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(dim=-1).nan_to_num(0.0)
