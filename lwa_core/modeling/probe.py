"""How good the model is with some layers left out, for any family of layer subsets.

The state after layer i depends only on which of the layers 0..i are kept. So subsets are walked depth first as a
prefix trie: a layer runs once for every distinct prefix that keeps it, and at most depth + 1 states are alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lwa_core.modeling.layered import LayeredModel, block_output, stand_in
from lwa_core.protocols import Batch, History, Recommender, Reporter

Kept = tuple[int, ...]
CACHES = ("past_key_values", "past_key_value", "layer_past")


class Probe:
    """Asks a layered model questions about calibration examples.

    Args:
        model: The full model; put into eval mode.
        recommender: Makes the batches, and their losses and scores.
        histories: Calibration histories.
        targets: The item that followed each history (examples,).
        utility: `"loss"`: minus the cross-entropy of the target. `"ndcg"`: NDCG@10 over the full catalogue.
        batch: Examples in one micro-batch.
        seed: Of `generator`, for scorers that draw.
        report: Gets the progress of `evaluate`.
    """

    def __init__(
        self,
        model: LayeredModel,
        recommender: Recommender,
        histories: Sequence[History],
        targets: NDArray[np.int64],
        *,
        utility: str = "loss",
        batch: int = 64,
        seed: int = 0,
        report: Reporter | None = None,
    ) -> None:
        self.model = model
        self.recommender = recommender
        self.utility = utility
        self.report = report
        self.generator = np.random.default_rng(seed)
        self.layer_evaluations = 0.0
        model.model.eval()
        # Micro-batches of similar length waste no work on padding; answers come back in the original order.
        self._order = np.argsort([len(history) for history in histories], kind="stable")
        self._chunks = [self._order[i : i + batch] for i in range(0, len(self._order), batch)]
        self.histories = histories
        self._targets = targets
        self._answers: dict[Kept, NDArray[np.float64]] = {}

    @property
    def depth(self) -> int:
        return self.model.depth

    @property
    def examples(self) -> int:
        """How many calibration examples there are."""
        return len(self.histories)

    @property
    def order(self) -> NDArray[np.int64]:
        """Which example each row of the micro-batches is, in the order of `batches` (examples,)."""
        return self._order

    def batches(self) -> Iterator[Batch]:
        """The calibration examples with their targets, a micro-batch at a time, on the model's device."""
        device = next(self.model.model.parameters()).device
        for chunk in self._chunks:
            batch = self.recommender.example_batch([self.histories[i] for i in chunk], self._targets[chunk])
            batch["targets"] = torch.from_numpy(self._targets[chunk])
            yield {name: value.to(device) for name, value in batch.items()}

    def evaluate(self, keeps: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Utility of every calibration example under every subset of layers (subsets, examples); higher is better.

        Answers are remembered. `layer_evaluations` counts the layers that ran, a full pass over all examples being
        `depth`.
        """
        wanted = [tuple(sorted(set(kept))) for kept in keeps]
        new = sorted({kept for kept in wanted if kept not in self._answers})
        if new:
            table = np.empty((len(new), self.examples))
            for number, (chunk, batch) in enumerate(zip(self._chunks, self.batches(), strict=True)):
                with torch.no_grad():
                    answers = _Walk(self, batch, len(chunk) / self.examples).run(new)
                for row, kept in enumerate(new):
                    table[row, chunk] = answers[kept]
                if self.report is not None:
                    self.report.progress(number + 1, len(self._chunks), f"{len(new)} layer subsets")
            self._answers.update(zip(new, table, strict=True))
        return np.stack([self._answers[kept] for kept in wanted])

    def utilities(self, batch: Batch) -> NDArray[np.float64]:
        """Utility of each example of a batch under the model as it stands (examples,)."""
        model = self.model.model
        if self.utility == "loss":
            values = -self.recommender.loss(model, batch).mean.double()
        else:
            scores = self.recommender.scores(model, batch)
            ranks = 1 + (scores > scores.gather(1, batch["targets"][:, None])).sum(dim=1)
            gains = 1 / torch.log2(1.0 + ranks.double())
            values = torch.where(ranks <= 10, gains, torch.zeros_like(gains))
        return np.asarray(values.cpu().numpy(), dtype=np.float64)


class _Walk:
    """One micro-batch's walk through the trie."""

    def __init__(self, probe: Probe, batch: Batch, share: float) -> None:
        self.probe, self.batch, self.share = probe, batch, share
        self.layers = list(probe.model.layers)
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.tupled: list[bool] = []

    def run(self, keeps: Sequence[Kept]) -> dict[Kept, NDArray[np.float64]]:
        full = tuple(range(len(self.layers)))
        answers: dict[Kept, NDArray[np.float64]] = {}
        whole = self._record()
        if full in keeps:
            answers[full] = whole
        start = self.calls[0][0][0] if self.calls[0][0] else self.calls[0][1]["hidden_states"]
        self._descend(0, start, [kept for kept in keeps if kept != full], answers)
        return answers

    def _record(self) -> NDArray[np.float64]:
        """The full pass: remembers what each block is called with besides its states (masks, position embeddings)."""

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A cache of keys and values would grow with every call; here each call is a whole sequence.
            cached = {name: None for name in CACHES if name in kwargs}
            self.calls.append((args, {**kwargs, **cached}))

        def after(_: nn.Module, __: Any, output: Any) -> None:
            self.tupled.append(isinstance(output, tuple))

        handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in self.layers]
        handles += [layer.register_forward_hook(after) for layer in self.layers]
        try:
            self.probe.layer_evaluations += len(self.layers) * self.share
            return self.probe.utilities(self.batch)
        finally:
            for handle in handles:
                handle.remove()

    def _descend(
        self, index: int, state: torch.Tensor, keeps: list[Kept], answers: dict[Kept, NDArray[np.float64]]
    ) -> None:
        if not keeps:
            return
        if index == len(self.layers):
            answers[keeps[0]] = self._finish(state)
            return
        self._descend(index + 1, state, [kept for kept in keeps if index not in kept], answers)
        holding = [kept for kept in keeps if index in kept]
        if holding:
            self.probe.layer_evaluations += self.share
            self._descend(index + 1, self._apply(index, state), holding, answers)

    def _apply(self, index: int, state: torch.Tensor) -> torch.Tensor:
        args, kwargs = self.calls[index]
        if args:
            return block_output(self.layers[index](state, *args[1:], **kwargs))
        return block_output(self.layers[index](**{**kwargs, "hidden_states": state}))

    def _finish(self, state: torch.Tensor) -> NDArray[np.float64]:
        """What comes after the last block, reached by a pass in which every block gives out `state`."""
        stand_ins = {i: stand_in(layer, state, self.tupled[i]) for i, layer in enumerate(self.layers)}
        with self.probe.model.replaced(stand_ins):
            return self.probe.utilities(self.batch)
