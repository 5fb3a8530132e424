"""Ask a model with layers left out by whole passes, and see whether its prefixes can be replayed instead.

A walk through the trie (`lwa_core.modeling.probing.prefix_trie`) takes the state after a prefix for all that the prefix
leaves behind. That is so where a block takes states and gives states; it is not where blocks also share keys and
values, hand on a second state, or write into an argument, a module or a global that others read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.probing.asked import AskedModel, own_words
from lwa_core.modeling.probing.batching import alike
from lwa_core.modeling.probing.prefix_trie import Walk
from lwa_core.statistics.subsets import Kept
from lwa_core.types import Batch

Judge = Callable[[torch.Tensor], Any]


class WholePasses:
    """One micro-batch, each subset of layers asked by a pass of its own through the whole model.

    Args:
        asked: The model.
        batch: Its micro-batch.
        judge: Turns logits (examples, items) into an answer.
    """

    def __init__(self, asked: AskedModel, batch: Batch, judge: Judge) -> None:
        self.asked, self.batch, self.judge = asked, batch, judge
        self.begun = False

    def run(self, keeps: Sequence[Kept], *, hold: bool = False) -> dict[Kept, Any]:
        """The judge's answer for each subset; the full model is judged before them, as by a walk."""
        answers = {}
        full = tuple(range(self.asked.depth))
        if not self.begun:
            self.begun, answers[full] = True, self._answer(full)
        return answers | {kept: self._answer(kept) for kept in keeps if kept not in answers}

    def _answer(self, kept: Kept) -> Any:
        with fast_linear_maps(), self.asked.model.skipping(kept), own_words(self.asked, f"with layers {list(kept)}"):
            return self.judge(self.asked.logits(self.batch))


_REPLAYS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def replays(asked: AskedModel) -> bool:
    """Whether walks answer as whole passes do, for this model; if not, the reporter is told. Seen once for each model.

    Raises:
        ModelError: Whole passes do not answer the same when they are asked again.
    """
    model = asked.model.model
    if model not in _REPLAYS:
        _REPLAYS[model] = _walks_as_whole(asked)
    if not _REPLAYS[model] and asked.report is not None:
        name = type(asked.model.base).__name__
        said = f"layers of {name} hand on more than their states, so each subset of them takes a whole pass: slow"
        asked.report.note(said)
    return _REPLAYS[model]


def telling_subsets(depth: int) -> list[Kept]:
    """Subsets whose answers differ where anything but the states passes from layer to layer.

    For any two layers one of them keeps the first and drops the second, another the other way round: they differ in
    some binary digit of their numbers. So a layer that reads what another one left is asked after that one was dropped,
    and after it ran on other states.
    """
    every = range(depth)
    bits = range(max(depth - 1, 1).bit_length())
    digits = [tuple(i for i in every if i >> bit & 1 == value) for bit in bits for value in (0, 1)]
    single = [tuple(i for i in every if i != gone) for gone in (0, depth // 2)]
    return list(dict.fromkeys([*single, *digits, (), tuple(every)]))


def _walks_as_whole(asked: AskedModel) -> bool:
    """On the shortest and the longest example. Padding that leaks does so in both ways of asking."""
    batch = asked.batch_of(list(dict.fromkeys([int(asked.order[0]), int(asked.order[-1])])))
    subsets = telling_subsets(asked.depth)

    def same(logits: torch.Tensor) -> torch.Tensor:
        return logits.clone()

    with torch.no_grad():
        whole = WholePasses(asked, batch, same).run(subsets)
        again = WholePasses(asked, batch, same).run(subsets[:1])[subsets[0]]
        if not alike(whole[subsets[0]], again, asked.precision):
            name = type(asked.model.base).__name__
            said = f"{name} with layers {list(subsets[0])} answers differently when it is asked again"
            raise ModelError(said, "a model that remembers what it was asked before cannot be scored")
        try:
            walked = Walk(asked, batch, same).run(subsets)
        except Exception:  # whatever a block says to a call that the model itself would not make
            return False
    return all(alike(whole[kept], walked[kept], asked.precision) for kept in subsets)
