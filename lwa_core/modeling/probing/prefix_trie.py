"""Walk through layer subsets as a prefix trie.

The state after layer i depends only on which of the layers 0..i are kept, so a layer runs once for every distinct
prefix that keeps it. Depth first, at most 2 (depth + 1) states are alive: those of the path, and those of the full
pass, which is the first path of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.layers.blocks import StandIn, block_input, block_output, with_output
from lwa_core.modeling.probing.asked import AskedModel
from lwa_core.modeling.probing.subject import FastTail, Subject
from lwa_core.statistics.subsets import Kept
from lwa_core.types import Batch

CACHES = ("past_key_values", "past_key_value", "layer_past", "cache_params")


def evaluations(keeps: Collection[Kept], depth: int) -> set[Kept]:
    """Layer evaluations that a walk makes, each named by the layers up to it that are kept: the prefixes of the full
    pass, and every other one that ends in a kept layer.
    """
    if not keeps:
        return set()
    ends = {kept[: place + 1] for kept in keeps for place in range(len(kept))}
    return ends | {tuple(range(length)) for length in range(1, depth + 1)}


def fast_tail(subject: Subject, model: nn.Module) -> FastTail | None:
    """The subject, where it offers a shorter way through the end of this model."""
    return subject if isinstance(subject, FastTail) and subject.has_fast_tail(model) else None


class Walk:
    """One micro-batch's walk through the trie; several of them where states are held in between.

    Args:
        asked: The model.
        batch: Its micro-batch.
        judge: Turns logits (examples, items) into an answer.
        repairs: Maps over gaps, by the boundaries on both sides.
    """

    def __init__(
        self,
        asked: AskedModel,
        batch: Batch,
        judge: Callable[[torch.Tensor], Any],
        repairs: Mapping[tuple[int, int], nn.Module] | None = None,
    ) -> None:
        self.asked, self.batch, self.judge = asked, batch, judge
        self.repairs = repairs or {}
        self.layers = list(asked.model.layers)
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.outputs: list[Any] = []  # of the full pass
        self.full: list[torch.Tensor] = []
        self.whole: Any = None
        self.held: dict[Kept, torch.Tensor] = {}
        self.hold = False
        self.fast = fast_tail(asked.subject, asked.model.model)

    def run(self, keeps: Sequence[Kept], *, hold: bool = False) -> dict[Kept, Any]:
        """The judge's answer for each subset; `hold`: keep the states, for another run."""
        self.hold = hold
        full = tuple(range(len(self.layers)))
        if not self.full:
            self.whole = self.judge(self._record())
        answers: dict[Kept, Any] = {full: self.whole} if full in keeps else {}
        self._descend((), 0, self.full[0], [kept for kept in keeps if kept != full], answers)
        return answers

    def _record(self) -> torch.Tensor:
        """The full pass: remembers what each block is called with besides its states (masks, position embeddings)."""

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A cache of keys and values would grow with every call; here each call is a whole sequence.
            cached = {name: None for name in CACHES if name in kwargs}
            if not self.full:
                self.full.append(block_input(args, kwargs))
            self.calls.append((args, {**kwargs, **cached}))

        def after(_: nn.Module, __: Any, output: Any) -> None:
            self.outputs.append(output)
            self.full.append(block_output(output))

        handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in self.layers]
        handles += [layer.register_forward_hook(after) for layer in self.layers]
        try:
            with fast_linear_maps():
                return self.asked.logits(self.batch)
        finally:
            for handle in handles:
                handle.remove()

    def _descend(
        self, before: Kept, index: int, state: torch.Tensor, keeps: list[Kept], answers: dict[Kept, Any]
    ) -> None:
        """`keeps` all keep the layers `before`, and no other one of those up to `index`, which led to `state`."""
        ending = [kept for kept in keeps if not kept or kept[-1] < index]
        if ending:
            answers[ending[0]] = self.judge(self._tail(self._across(before, len(self.layers), state)))
            keeps = [kept for kept in keeps if kept is not ending[0]]
        if not keeps:
            return
        holding = [kept for kept in keeps if index in kept]
        self._descend(before, index + 1, state, [kept for kept in keeps if index not in kept], answers)
        if not holding:
            return
        if self.fast is not None and index + 1 == len(self.layers):
            # Nothing comes after the last layer but the target's position. Whether a subset takes this way depends on
            # the subset alone, so that an answer never depends on what else was asked.
            state = self._across(before, index, state)
            hidden = self.fast.last_layer(self.asked.model.model, self.layers[index], state, self.batch)
            answers[holding[0]] = self.judge(self.asked.subject.head(self.asked.model.model, hidden))
            return
        self._descend((*before, index), index + 1, self._after((*before, index), state), holding, answers)

    def _after(self, kept: Kept, state: torch.Tensor) -> torch.Tensor:
        """The state after the last one of the layers that are kept so far, from the one before it."""
        if kept == tuple(range(len(kept))):
            return self.full[len(kept)]
        if kept in self.held:
            return self.held[kept]
        after = self._apply(kept[-1], self._across(kept[:-1], kept[-1], state))
        if self.hold:
            self.held[kept] = after
        return after

    def _across(self, kept: Kept, index: int, state: torch.Tensor) -> torch.Tensor:
        """The state that enters layer `index` behind the layers kept so far: mapped where there is a gap."""
        repair = self.repairs.get((kept[-1] + 1 if kept else 0, index))
        return state if repair is None else repair(state)

    def _apply(self, index: int, state: torch.Tensor) -> torch.Tensor:
        args, kwargs = self.calls[index]
        with fast_linear_maps():
            if args:
                return block_output(self.layers[index](state, *args[1:], **kwargs))
            return block_output(self.layers[index](**{**kwargs, "hidden_states": state}))

    def _tail(self, state: torch.Tensor) -> torch.Tensor:
        """What comes after the last block: by the subject's own way, or by a pass whose blocks give out `state`."""
        if self.fast is not None:
            hidden = self.fast.tail(self.asked.model.model, state, self.batch)
            return self.asked.subject.head(self.asked.model.model, hidden)
        # What blocks hand on to each other besides has no reader any more, but the model's code wants it there.
        stand_ins: dict[int, nn.Module] = {
            i: StandIn(layer, with_output(self.outputs[i], state)) for i, layer in enumerate(self.layers)
        }
        with self.asked.model.replaced(stand_ins):
            return self.asked.logits(self.batch)
