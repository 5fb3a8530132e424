"""What every recommender must hold to, asked of its own model on a few histories: one table of questions, one error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.data.dataset import lent as copies
from lwa_core.errors import LwaError, PluginError
from lwa_core.modeling.probing.batches import checked, moved
from lwa_core.plugins.lending.guard import lent
from lwa_core.plugins.protocols import Recommender
from lwa_core.statistics.agreement import spearman
from lwa_core.types import Batch, History, Losses

EXAMPLES = 4
"""Histories that are asked about."""

TOLERANCE = 1e-3
"""Of scores, relative to the largest: other shapes of a batch round otherwise, no more."""

AGREEING = 0.5
"""Least rank correlation of scores and logits: the former may mix something in, not turn the order round."""


def check_recommender_model(
    who: str, recommender: Recommender, model: torch.nn.Module, histories: Sequence[History], items: int, seed: int
) -> None:
    """Ask a model, in eval mode, what its numbers rest on: never on the other examples of a batch, nor on the target.

    Args:
        who: The recommender and its provider, for messages.
        recommender: Turns histories into batches and answers.
        model: Its model.
        histories: What is asked about; a few of different lengths, not empty.
        items: Size of the catalogue.
        seed: Of the targets that are made up.

    Raises:
        PluginError: Scores of a row depend on the batch or on chance, or are of another shape, or no numbers; states,
            logits or losses depend on other examples; a state at a target knows the target; `scores` and `head` rank
            otherwise; or asking changes the model.
    """
    chosen = copies(_of_different_lengths(histories))
    targets = np.random.default_rng(seed).integers(0, items, size=(2, len(chosen)))
    with lent(who, seed, models={"its model": model}), torch.no_grad():
        asked = _Asked(who, recommender, model, chosen, items)
        scores = asked.check_scores()
        logits = asked.check_states(targets[0], (targets[0] + 1 + targets[1] % max(items - 1, 1)) % items)
        asked.check_ranking(scores, logits)
        asked.check_losses(targets[0])


def check_training_batches(
    who: str, recommender: Recommender, model: torch.nn.Module, windows: Sequence[History], items: int
) -> None:
    """See that the states that are to predict an item in batches that are trained on do not change with it.

    Of masked items a few may be left as they are (BERT's own recipe leaves a tenth), so most of them must not change.

    Args:
        who: The recommender and its provider, for messages.
        recommender: Turns windows into batches.
        model: Its model, in eval mode; what its weights are makes no difference.
        windows: A few training windows.
        items: Size of the catalogue.

    Raises:
        PluginError: Most of them do.
    """
    asked = _Asked(who, recommender, model, [], items)
    seen = changed = 0
    for window in windows:
        for place in sorted({len(window) // 2, len(window) - 1}):
            other = _with_item(window, place, (int(window[place]) + 1) % items)
            with torch.no_grad():
                found = asked.changed_states(window, other)
            seen, changed = seen + sum(found), changed + len(found)
    if changed and 2 * seen > changed:
        asked.refuse("training_batch", "shows the target: states change with the item that they are to predict")


def _with_item(window: History, place: int, item: int) -> History:
    """The window with another item at one place."""
    (changed,) = copies([window])
    changed[place] = item
    return changed


def _of_different_lengths(histories: Sequence[History]) -> list[History]:
    """The shortest, the longest, and some in between."""
    order = sorted(range(len(histories)), key=lambda place: len(histories[place]))
    places = np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).round().astype(int)
    return [histories[order[place]] for place in places]


@attrs.frozen
class _Asked:
    who: str
    recommender: Recommender
    model: torch.nn.Module
    histories: list[History]
    items: int

    @property
    def tolerance(self) -> float:
        """Half precision rounds to three digits, and adds up."""
        half = any(torch.finfo(p.dtype).bits < 32 for p in self.model.parameters() if p.is_floating_point())
        return 50 * TOLERANCE if half else TOLERANCE

    def check_scores(self) -> torch.Tensor:
        """All rows together, each alone, and once more."""
        together = self._scores(self.histories)
        self._same("scores", together, self._scores(self.histories), "are others when they are asked for again")
        alone = torch.cat([self._scores([history]) for history in self.histories])
        self._same("scores", together, alone, "of a history depend on the others of its batch, or on padding")
        return together

    def _scores(self, histories: list[History], targets: NDArray[np.int64] | None = None) -> torch.Tensor:
        scores: Any = self.recommender.scores(self.model, self._batch(histories, targets))
        return self._numbers("scores", scores, (len(histories), self.items), "(histories, items)")

    def check_states(self, targets: NDArray[np.int64], others: NDArray[np.int64]) -> torch.Tensor:
        """States at the targets, and their logits: for these targets, for others, and each example alone."""
        states, logits = self._encoded(self.histories, targets)
        changed, _ = self._encoded(self.histories, others)
        told, otherwise = (self._scores(self.histories, each) for each in (targets, others))
        self._same(
            "scores", told, otherwise, "know the target where the batch has one: with another one they are others"
        )
        self._same("encode", states, changed, "gives states that know the target: with another one they are others")
        pairs = [self._encoded([history], targets[row : row + 1]) for row, history in enumerate(self.histories)]
        said = "gives states of an example that depend on the others of its batch, or on padding"
        self._same("encode", states, torch.cat([alone for alone, _ in pairs]), said)
        self._same("head", logits, torch.cat([alone for _, alone in pairs]), said.replace("states", "logits"))
        return logits

    def check_ranking(self, scores: torch.Tensor, logits: torch.Tensor) -> None:
        """Layers are scored by the logits, models by the scores: both must mean one ranking."""
        pairs = zip(scores.double().cpu().numpy(), logits.double().cpu().numpy(), strict=True)
        found = [spearman(*pair) for pair in pairs if all(np.ptp(each[np.isfinite(each)]) > 0 for each in pair)]
        if found and np.mean(found) < AGREEING:
            said = f"ranks items otherwise than `head` after `encode` (Spearman {np.mean(found):.2f})"
            self.refuse("scores", said)

    def _encoded(self, histories: list[History], targets: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self._batch(histories, targets)
        given: Any = self.recommender.encode(self.model, batch)
        if not isinstance(given, tuple) or len(given) != 2:
            self.refuse("encode", f"gave {type(given).__name__}, not (states, targets)")
        states, found = given
        if not isinstance(found, torch.Tensor) or found.tolist() != targets.tolist():
            self.refuse("encode", "gave other targets than those in the `labels` of the batch, or in another order")
        width = states.shape[-1] if isinstance(states, torch.Tensor) and states.dim() else 0
        self._numbers("encode", states, (len(histories), width), "(targets, width)")
        logits = self.recommender.head(self.model, states)
        return states, self._numbers("head", logits, (len(histories), self.items), "(targets, items)")

    def check_losses(self, targets: NDArray[np.int64]) -> None:
        """The loss of every example, and of each alone."""
        together = self._losses(self.histories, targets)
        if not torch.equal(together, self._losses(self.histories, targets)):
            return  # it draws negatives
        alone = [self._losses([history], targets[row : row + 1]) for row, history in enumerate(self.histories)]
        self._same(
            "loss", together, torch.cat(alone), "of an example depends on the others of its batch, or on padding"
        )

    def _losses(self, histories: list[History], targets: NDArray[np.int64]) -> torch.Tensor:
        given: Any = self.recommender.loss(self.model, self._batch(histories, targets))
        if not isinstance(given, Losses):
            self.refuse("loss", f"gave {type(given).__name__}, not Losses")
        self._numbers("loss", given.count, (len(histories),), "(examples,) as `count`")
        return self._numbers("loss", given.total, (len(histories),), "(examples,) as `total`")

    def changed_states(self, window: History, other: History) -> list[bool]:
        """For every target that is another one in `other`: whether the state that predicts it is another one, too."""
        first, again, changed = (self._drawn_alike(each) for each in (window, window, other))
        if (
            any(not torch.equal(first[name], again[name]) for name in first)
            or (first["labels"] > 0).sum() != (changed["labels"] > 0).sum()
        ):
            return []  # it draws by other means than torch's generator: what changed cannot be told from what was drawn
        states, targets = self.recommender.encode(self.model, first)
        others, new = self.recommender.encode(self.model, changed)
        off, scale = (states - others).abs().double().amax(dim=1), states.abs().double().amax(dim=1).clamp(min=1e-9)
        return [bool(flag) for flag in (off > self.tolerance * scale)[targets != new]]

    def _drawn_alike(self, window: History) -> Batch:
        """A training batch of one window, with what is drawn drawn by the same numbers each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            batch = checked(self.recommender.training_batch(copies([window])), self.recommender, 1)
        return moved(batch, self.model)

    def _batch(self, histories: list[History], targets: NDArray[np.int64] | None = None) -> Batch:
        batch: Any = self.recommender.example_batch(copies(histories), targets)
        if not isinstance(batch, dict) or not all(isinstance(value, torch.Tensor) for value in batch.values()):
            self.refuse("example_batch", "gave no dict of tensors")
        if targets is not None:
            try:
                checked(batch, self.recommender, len(histories), torch.from_numpy(targets))
            except LwaError as error:
                raise PluginError(f"{self.who}: {error.message}", error.hint) from error
        return moved(batch, self.model)

    def _numbers(self, method: str, given: Any, shape: tuple[int, ...], called: str) -> torch.Tensor:
        if not isinstance(given, torch.Tensor):
            self.refuse(method, f"gave {type(given).__name__}, not a tensor {called}")
        if tuple(given.shape) != shape:
            self.refuse(method, f"gave {tuple(given.shape)}, not {shape} {called}")
        if bool(torch.isnan(given.double()).any()) or (method != "scores" and bool(torch.isinf(given.double()).any())):
            self.refuse(method, "gave numbers that are not finite")
        return given

    def _same(self, method: str, one: torch.Tensor, other: torch.Tensor, said: str) -> None:
        one, other = one.double(), other.double()
        off = float(torch.where(one == other, 0.0, one - other).abs().max())  # -inf: not to be recommended
        scale = float(one[torch.isfinite(one)].abs().max()) if bool(torch.isfinite(one).any()) else 1.0
        if off > self.tolerance * max(1.0, scale):
            self.refuse(method, f"{said} (off by {off:.3g})")

    def refuse(self, method: str, said: str) -> NoReturn:
        raise PluginError(f"{self.who}: `{method}` {said}", "docs/plugins.md says what a recommender must hold to")
