"""The knobs of `transitions`, chosen on validation examples by a coordinate search with a stated number of settings.

No one setting fits all data: a catalogue of films that everybody sees wants popularity divided out, one of goods that
few buy does not. The budget counts settings and not seconds, so that the same data gives the same choice everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data import Examples, PreparedData
from lwa_core.recommendation.transitions import (
    Counting,
    TransitionCounts,
    Transitions,
    TransitionSettings,
    count_transitions,
    item_features,
    weigh,
)
from lwa_core.statistics.rank_metrics import ndcg
from lwa_core.store.files import read_json, write_json
from lwa_core.types import Floats, History, Quiet, Reporter

BUDGET = 200
"""How many settings are tried at most."""
FEWEST_SETTINGS = 40
"""Of few examples no more settings are tried than these, or than there are examples: others would win by chance."""
EXAMPLES = 4000
"""How many validation examples are looked at, at most."""
SCORES = 2**25
"""At most about so many scores are computed for a setting: of large catalogues fewer examples are drawn, down to
`FEWEST`."""
FEWEST = 500
BATCH = 250  # a power of two makes transposing slow: its rows share cache lines
FILE = "transitions.json"
KEPT = 2
"""Tables of counts that are kept while others are tried."""

_FADES = ((0.5, 0.0), (0.65, 0.0), (0.8, 0.0), (1.0, 1.0), (1.0, 0.5), (1.0, 0.0))
GRIDS: Mapping[str, Sequence[Any]] = {
    "decay": (0.1, 0.2, 0.35, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95),
    "popularity": (0.0, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    "correction": (0.0, 0.25, 0.5, 0.75, 1.0),
    "scale": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0),
    "features": (0.0, 0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    "features_decay": (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95),
    "evidence": (0.0, 0.25, 0.5, 0.75, 1.0),
    "history": (1, 2, 3, 5, 8, 12, 20, 35, 50),
    "window": (1, 2, 3, 5, 8, 12, 20, 30),
    "distance": _FADES,
    "reverse": (0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
}
"""The values of each knob, in an order of which neighbours are alike; `distance` is (fade, power)."""

STARTS = (
    TransitionSettings(Counting(8, 1.0, 1.0, 0.0), 0.0, 0.75, 3e-4, 12, 0.65, 0.1, 0.5, 1.0),
    TransitionSettings(Counting(12, 1.0, 0.0, 0.5), 0.5, 1.0, 3e-3, 8, 0.8, 0.1, 0.5, 1.0),
    TransitionSettings(Counting(5, 0.5, 0.0, 0.5), 0.5, 0.75, 1e-3, 12, 0.8, 2.0, 0.8, 0.75),
    TransitionSettings(Counting(20, 0.8, 0.0, 0.25), 0.0, 0.0, 3e-2, 5, 0.2, 1.0, 0.35, 0.1),
    TransitionSettings(Counting(20, 0.8, 0.0, 0.25), 0.0, 0.0, None, 5, 0.2, 0.1, 0.35, 0.003),
    TransitionSettings(Counting(1, 1.0, 0.0, 0.0), 1.0, 1.0, 3e-4, 1, 0.5, 0.0, 0.5, 1.0),
)
"""Where the search begins: short and long windows, with and without the logarithm, from which no single step leads to
the other. They are near what did well on films, films of fewer users, games and cosmetics; the last is the bigram.
"""


Reached: TypeAlias = "tuple[TransitionSettings, float]"


@attrs.frozen
class Tuned:
    """What the search chose.

    Args:
        settings: The best of those tried; the first of equally good ones.
        ndcg: Mean NDCG@k on the validation examples; None where there are none, and the first start stands.
        tried: How many settings were evaluated.
        budget: How many might have been.
        examples: How many validation examples each was evaluated on.
        k: The cut-off.
        features: Whether items have titles or categories that more than one of them shares.
        trail: Every setting that was the best when it was tried, with its NDCG@k, in order.
    """

    settings: TransitionSettings
    ndcg: float | None
    tried: int
    budget: int
    examples: int
    k: int
    features: bool
    trail: tuple[Reached, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The chosen settings and how they were chosen, JSON-ready."""
        told = {"settings": attrs.asdict(self.settings), "validation_ndcg": self.ndcg}
        return {**told, **{name: getattr(self, name) for name in ("k", "tried", "budget", "examples", "features")}}


UNTUNED = Tuned(TransitionSettings(), None, 0, 0, 0, 0, False)
"""For a trial, where what is chosen does not matter."""


def tune_transitions(
    data: PreparedData,
    *,
    k: int,
    filter_seen: bool,
    seed: int,
    budget: int = BUDGET,
    report: Reporter | None = None,
) -> Tuned:
    """Choose the knobs by mean NDCG@k of the validation examples; counts are of the training part alone.

    Args:
        data: Only its training part and its validation examples are looked at.
        k: The cut-off.
        filter_seen: Whether what a history holds is ranked nowhere.
        seed: Draws the validation examples where there are more than are looked at.
        budget: How many settings are tried at most.
        report: Hears how far it is.
    """
    data = data.only("validation")  # nothing below could look at another target
    report = report or Quiet()
    features = item_features(data.catalogue)
    examples = _drawn(data.validation, len(data.catalogue), seed)
    budget = min(budget, max(FEWEST_SETTINGS, len(examples)))
    starts = [start if features is not None else attrs.evolve(start, features=0.0) for start in STARTS]
    if not len(examples):
        return Tuned(starts[0], None, 0, budget, 0, k, features is not None)
    search = _Search(_Evaluation(data, examples, features, k, filter_seen), budget, report)
    knobs = [knob for knob in GRIDS if features is not None or not knob.startswith("features")]
    trail = search.from_each(starts, knobs)
    best, reached = trail[-1]
    return Tuned(best, reached, len(search.found), budget, len(examples), k, features is not None, tuple(trail))


def _drawn(examples: Examples, items: int, seed: int) -> Examples:
    count = min(EXAMPLES, max(FEWEST, SCORES // max(items, 1)))
    if len(examples) <= count:
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).choice(len(examples), size=count, replace=False)))


@attrs.define(eq=False)
class _Search:
    """Coordinate search: of each knob the neighbouring values, one after another while that helps."""

    evaluate: Callable[[TransitionSettings], float]
    budget: int
    report: Reporter
    found: dict[TransitionSettings, float] = attrs.field(factory=dict)
    """What was tried, in order."""

    @property
    def left(self) -> bool:
        return len(self.found) < self.budget

    def from_each(self, starts: Sequence[TransitionSettings], knobs: Sequence[str]) -> list[Reached]:
        """Search from the best start until nothing helps, then from the next best, as far as the budget reaches.

        Returns:
            What was the best of all when it was tried, in order.
        """
        for start in starts:
            self.reach(start)
        begun = [start for start in starts if start in self.found]
        for start in sorted(begun, key=lambda each: -self.found[each]):  # stable: of equal ones the first
            at, before = start, None
            while self.left and at != before:
                before, at = at, self.sweep(at, knobs)
        trail: list[Reached] = []
        for settings, reached in self.found.items():
            if not trail or reached > trail[-1][1]:
                trail.append((settings, reached))
        return trail

    def reach(self, settings: TransitionSettings) -> float:
        """The figure of these settings; what was tried already costs nothing, and none is left: −inf."""
        if settings not in self.found:
            if not self.left:
                return -np.inf
            self.found[settings] = self.evaluate(settings)
            self.report.progress(len(self.found), self.budget)
        return self.found[settings]

    def sweep(self, at: TransitionSettings, knobs: Sequence[str]) -> TransitionSettings:
        """One round over all knobs, and where it leads."""
        for knob in knobs:
            for direction in (1, -1):
                begun = at
                while (other := _neighbour(at, knob, direction)) is not None and self.reach(other) > self.reach(at):
                    at = other
                if at != begun:
                    break
        return at


def _neighbour(settings: TransitionSettings, knob: str, direction: int) -> TransitionSettings | None:
    """The same with the next value of one knob; None at the end of its grid, or where the knob moves nothing."""
    counting = settings.counting
    idle = {
        "scale": settings.scale is None,
        "features_decay": not settings.features or settings.history == 1,
        "decay": settings.history == 1,
        "distance": counting.window == 1,
    }
    own = {
        **attrs.asdict(settings, recurse=False),
        **attrs.asdict(counting),
        "distance": (counting.fade, counting.power),
    }
    grid, value = GRIDS[knob], own[knob]
    if idle.get(knob) or not 0 <= (place := grid.index(value) + direction) < len(grid):
        return None
    if knob == "distance":
        fade, power = grid[place]
        return attrs.evolve(settings, counting=attrs.evolve(counting, fade=fade, power=power))
    if knob in ("window", "reverse"):
        return attrs.evolve(settings, counting=attrs.evolve(counting, **{knob: grid[place]}))
    return attrs.evolve(settings, **{knob: grid[place]})


@attrs.define(eq=False)
class _Evaluation:
    """Mean NDCG@k of the validation examples under given settings."""

    data: PreparedData
    examples: Examples
    features: Any
    k: int
    filter_seen: bool
    _counts: dict[Counting, TransitionCounts] = attrs.field(factory=dict)
    _cosines: tuple[Any, list[Any]] = (None, [])

    def __call__(self, settings: TransitionSettings) -> float:
        fitted = weigh(self._counted(settings.counting), settings, self.features)
        histories, targets = self.data.histories(self.examples), self.data.targets(self.examples)
        starts = range(0, len(histories), BATCH)
        parts = [histories[start : start + BATCH] for start in starts]
        ranked = [
            ranks_in(fitted.table(part, cosines), targets[start : start + BATCH], part if self.filter_seen else None)
            for start, part, cosines in zip(starts, parts, self._known(fitted, parts), strict=True)
        ]
        ranks, tied = (np.concatenate(each) for each in zip(*ranked, strict=True))
        return float(ndcg(ranks, self.k, tied).mean())

    def _known(self, fitted: Transitions, parts: Sequence[Sequence[History]]) -> list[Any]:
        """Cosines of each batch: most steps of the search leave them as they are, and they cost the most."""
        if fitted.features is None:
            return [None] * len(parts)
        asked = (fitted.settings.history, fitted.settings.features_decay)
        if asked != self._cosines[0]:
            self._cosines = (None, [])  # before others take as much memory
            self._cosines = (asked, [fitted.cosines(part) for part in parts])
        return self._cosines[1]

    def _counted(self, counting: Counting) -> TransitionCounts:
        if counting not in self._counts:
            while len(self._counts) >= KEPT:
                del self._counts[next(iter(self._counts))]
            sequences = self.data.training_sequences()
            self._counts[counting] = count_transitions(sequences, len(self.data.catalogue), counting)
        self._counts[counting] = self._counts.pop(counting)  # the one used last goes last
        return self._counts[counting]


def ranks_in(
    table: Floats, targets: NDArray[np.int64], seen: Sequence[History] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank of each target behind all items of its score, and how many others have it (examples,); rank 0: none.

    As `rank_examples` does, without top lists.

    Args:
        table: Of scores (examples, items).
        targets: (examples,).
        seen: What is ranked nowhere of each row; None: all is ranked.
    """
    import torch

    from lwa_core.modeling.kernels.target_ranks import target_ranks
    from lwa_core.recommendation.ranking import without_seen

    scores = torch.from_numpy(table)
    ranks, tied = target_ranks(scores if seen is None else without_seen(scores, seen), torch.from_numpy(targets))
    return ranks.numpy(), tied.numpy()


def write_tuned(folder: Path, tuned: Tuned) -> None:
    """Write what `read_tuned` reads: `transitions.json`."""
    write_json(folder / FILE, attrs.asdict(tuned))


def read_tuned(folder: Path) -> Tuned:
    """Read what `write_tuned` wrote."""
    told = read_json(folder / FILE)
    trail = tuple((_settings(settings), reached) for settings, reached in told["trail"])
    return Tuned(**{**told, "settings": _settings(told["settings"]), "trail": trail})


def _settings(told: Mapping[str, Any]) -> TransitionSettings:
    return TransitionSettings(**{**told, "counting": Counting(**told["counting"])})
