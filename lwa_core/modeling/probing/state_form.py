"""What the states between the layers must look like for what is observed of them to be about examples."""

from __future__ import annotations

from collections.abc import Collection
from weakref import WeakKeyDictionary

import torch

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.layered import block_input, block_output
from lwa_core.modeling.probing.asked import AskedModel

BY_POSITION = frozenset({"states"})
BY_EXAMPLE = frozenset({"gate_gradients"})

_SEEN: WeakKeyDictionary[torch.nn.Module, frozenset[str]] = WeakKeyDictionary()


def assert_states_by_example(asked: AskedModel, needs: Collection[str]) -> None:
    """See on the longest example that each layer runs once, on states in the form that what is asked for needs.

    For `states` they must be (examples, time, width), with the positions of the batch; for `gate_gradients` their
    first axis must be the examples. Families that put positions first, add some of their own in front, or hold several
    states for each position would give figures of something else. Seen once for each model.

    Raises:
        ModelError: They are not.
    """
    wanted = frozenset(needs) & (BY_POSITION | BY_EXAMPLE)
    network = asked.model.model
    if wanted <= _SEEN.get(network, frozenset()):
        return
    batch = asked.batch_of([int(asked.order[-1])])
    seen: list[tuple[torch.Size, torch.Size]] = []

    def note(_: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
        seen.append((block_input(args, kwargs).shape, block_output(output).shape))

    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in asked.model.layers]
    try:
        with torch.no_grad():
            asked.logits(batch)
    finally:
        for handle in handles:
            handle.remove()
    said = _objection(seen, asked.depth, tuple(batch["attention_mask"].shape), bool(wanted & BY_POSITION))
    if said:
        hint = "scorers that only ask about subsets of layers, such as leave-one-out, can be used"
        raise ModelError(f"the layers of {type(asked.model.base).__name__} {said}", hint)
    _SEEN[network] = wanted | _SEEN.get(network, frozenset())


def _objection(
    seen: list[tuple[torch.Size, torch.Size]], depth: int, positions: tuple[int, ...], by_position: bool
) -> str | None:
    if len(seen) != depth:
        return f"ran {len(seen)} times in one pass, and there are {depth}"
    for shape in (shape for pair in seen for shape in pair):
        if not shape or shape[0] != 1:
            return f"have states {tuple(shape)} of one example, whose first axis is not the examples"
        if by_position and (len(shape) != 3 or tuple(shape[:2]) != positions):
            return f"have states {tuple(shape)} of one example of {positions[1]} positions"
    return None
