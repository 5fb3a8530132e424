"""What attention looks at, without making the model compute it in its slow form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import torch
import torch.nn.functional as F

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.layered import LayeredModel


@attrs.frozen(eq=False)
class Attention:
    """What the heads of one layer look at.

    Args:
        probabilities: (examples, heads, queries, keys); rows add up to 1, or are zero where a query sees nothing.
        visible: How many keys each query may look at (examples or 1, heads or 1, queries).
    """

    probabilities: torch.Tensor
    visible: torch.Tensor


@contextmanager
def attention_probabilities(model: LayeredModel, *, differentiable: bool = False) -> Iterator[list[Attention]]:
    """Collect what every layer's attention looks at in the next forward pass.

    The list that is yielded holds, after the pass, one entry a layer. Computed again from the arguments of each call of
    `torch.nn.functional.scaled_dot_product_attention`, which is replaced meanwhile; where a layer calls it more than
    once (self and cross attention), its first call counts. Gradients flow through them only where they are to be
    `differentiable`.

    Raises:
        ModelError: A layer did not call it (when the list is read).
    """
    found: dict[int, Attention] = {}
    current: list[int] = []
    original = F.scaled_dot_product_attention

    def listening(*args: Any, **kwargs: Any) -> torch.Tensor:
        if current and current[-1] not in found:
            with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
                found[current[-1]] = _seen(*args, **kwargs)
        return original(*args, **kwargs)

    with ExitStack() as stack:
        for index, layer in enumerate(model.layers):
            stack.callback(layer.register_forward_pre_hook(lambda *_, i=index: current.append(i)).remove)
            stack.callback(layer.register_forward_hook(lambda *_: current.clear()).remove)
        stack.callback(setattr, F, "scaled_dot_product_attention", original)
        F.scaled_dot_product_attention = listening
        yield _InOrder(model.depth, found)


class _InOrder(list[Attention]):
    """The layers' attention in order, read once the pass is over."""

    def __init__(self, depth: int, found: dict[int, Attention]) -> None:
        super().__init__()
        self.depth, self.found = depth, found

    def __iter__(self) -> Iterator[Attention]:
        missing = [layer for layer in range(self.depth) if layer not in self.found]
        if missing:
            raise ModelError(
                f"layers {missing} do not use scaled_dot_product_attention, so their attention cannot be seen",
                'leave out the scorers of attention, or load the model with attn_implementation="sdpa"',
            )
        return iter([self.found[layer] for layer in range(self.depth)])


def _seen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,  # noqa: ARG001 -- the signature is torch's
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001 -- the same
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Attention:
    """The softmax inside scaled dot-product attention, as torch documents it."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    logits = (query * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))) @ key.transpose(-2, -1)
    queries, keys = logits.shape[-2:]
    if is_causal:
        hidden = torch.ones(queries, keys, dtype=torch.bool, device=logits.device).triu(1)
        visible = (~hidden).sum(dim=-1)[None, None]
        return Attention((logits.masked_fill_(hidden, -torch.inf)).softmax(dim=-1), visible)
    if attn_mask is None:
        return Attention(logits.softmax(dim=-1), torch.full((1, 1, queries), keys, device=logits.device))
    if attn_mask.dtype == torch.bool:
        shown = attn_mask
        logits = logits.masked_fill_(~attn_mask, -torch.inf)
    else:  # transformers hides keys by the lowest number there is, others by minus infinity
        shown = attn_mask > torch.finfo(attn_mask.dtype).min / 2
        logits = logits + attn_mask
    shown = shown.expand(*torch.broadcast_shapes(shown.shape, (1, 1, queries, keys)))
    return Attention(logits.softmax(dim=-1).nan_to_num(0.0), shown.sum(dim=-1))
