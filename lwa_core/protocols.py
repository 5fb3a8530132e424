"""What a dataset, recommender, scorer, selector and compressor is.

A component is an attrs class: its fields are its settings, its methods are its job. Nothing here needs to be inherited
from; a class that has the methods is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core.data import Catalogue, PreparedData, Source
    from lwa_core.modeling.layered import LayeredModel
    from lwa_core.modeling.observation import Observation
    from lwa_core.modeling.probe import Probe
    from lwa_core.training import Losses, TrainingSettings
    from lwa_core.types import DepthPlan, LayerCosts, ScoreBoard

Batch: TypeAlias = "dict[str, torch.Tensor]"
History: TypeAlias = "NDArray[np.int32]"
"""Item indices, oldest first (events,); a `lwa_core.data.TimedHistory` for recommenders that use times."""


class Reporter(Protocol):
    """Where a long job says how far it is. The command line shows it, the run's event log keeps it."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """`done` of `total` units of this job are finished."""

    def warn(self, code: str, message: str) -> None:
        """Say something about the result that the user must know; it is kept with it and ends up in the report."""

    def note(self, message: str) -> None:
        """Say something about this execution (a damaged checkpoint passed over); it changes no result."""


class Dataset(Protocol):
    """Reads interactions from files, or makes them."""

    def files(self) -> Sequence[Path]:
        """Every file that `read` will open: their contents are part of the cache key. Raises DataError if one lacks."""

    def read(self) -> Source:
        """Raw events and items. Raises DataError, with file and line, for what cannot be read."""


class Recommender(Protocol):
    """Builds a transformer that ranks a catalogue, and says how histories become batches, losses and scores.

    Items are indices into the catalogue (0-based) on this side of the interface; what ids the model uses inside is its
    own affair. Metrics are computed by the core. The list of transformer blocks is found in the model; where several
    lists could be it, an attribute or setting `blocks` of the recommender gives its dotted path. A recommender whose
    attribute `uses_times` is true gets histories with times, `lwa_core.data.TimedHistory`, and only such data. One that
    reads files names them by a method `files()`, as a dataset does, so that a change of them is noticed.
    """

    def training(self) -> TrainingSettings:
        """How the core's loop is to train it."""

    def build(self, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
        """A fresh model for this catalogue, initialised from torch's global generator (which the caller has seeded)."""

    def load(self, folder: Path) -> torch.nn.Module:
        """The model saved in `folder`, compressed or not, in eval mode. Raises ModelError."""

    def training_windows(self, sequences: Sequence[History]) -> list[History]:
        """Cut the users' training parts into the sequences that one training example each is made of."""

    def training_batch(self, windows: Sequence[History]) -> Batch:
        """A batch with a target at every position that has a next item."""

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        """A batch that asks for the next item after each history; with `targets` (examples,), also for its loss.

        It holds `attention_mask` (examples, time): which positions are real.
        """

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        """Loss of every example (sum over its targets, and how many there were)."""

    def scores(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Score of every item after each history (examples, items); higher is better."""

    def encode(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states at every position that has a target (targets, width), and the targets (targets,)."""

    def head(self, model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Full-catalogue logits of hidden states: (targets, width) -> (targets, items)."""


@runtime_checkable
class FastTail(Protocol):
    """What a recommender may offer besides, so that asking about many layer subsets costs less.

    Both give the hidden states at the targets (targets, width), as `encode` does, without running the whole model.
    """

    def has_fast_tail(self, model: torch.nn.Module) -> bool:
        """Whether it works for this model (not, for example, with an adapter around it)."""

    def tail(self, model: torch.nn.Module, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """From the states after the last block (examples, time, width)."""

    def last_layer(
        self, model: torch.nn.Module, layer: torch.nn.Module, states: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        """From the states before the last block, of which only the targets' positions are computed."""


@runtime_checkable
class Adapting(Protocol):
    """What a recommender may offer besides, so that a model is fitted in another form than it is kept in."""

    def adapt(self, model: torch.nn.Module, sequences: Sequence[History], report: Reporter) -> torch.nn.Module:
        """The form to be fitted, made of what `build` gave; `sequences` are the users' training parts."""

    def settle(self, model: torch.nn.Module) -> torch.nn.Module:
        """The form to be kept, which `load` must give again, made of what was fitted."""


@runtime_checkable
class ObservingScorer(Protocol):
    """Looks at one pass over the calibration examples. All observing scorers of a recipe share one pass.

    What `observe` gives is the table, unless the scorer has a method `finish(rows, probe)`: it then gets what `observe`
    gave for all examples together, in the examples' own order where there is one row an example, and gives the table.
    A scorer that observes `sampled_gradient_norms` says by a setting `draws` how many drawings of labels it needs.
    """

    @property
    def observes(self) -> frozenset[str]:
        """What it needs: any of `lwa_core.modeling.observation.OBSERVABLES`. A class attribute will do."""

    def observe(self, seen: Observation) -> torch.Tensor:
        """Scores of one micro-batch (examples, layers), or what `finish` needs of it. Higher means: keep."""


@runtime_checkable
class QueryingScorer(Protocol):
    """Asks how good the model is with some layers left out. All queries of a run share their prefixes and answers."""

    def score(self, probe: Probe) -> torch.Tensor:
        """The table (samples, layers). Higher means: keep."""


@runtime_checkable
class CombiningScorer(Protocol):
    """Makes scores out of the other scorers' scores. Runs after them, whatever the order in the recipe.

    It never sees the model, nor what another combining scorer made. A setting `of` (names of scorers) says whose scores
    it gets; where there is no such setting, or it is empty, those of all scorers but the baselines, which have a class
    attribute `baseline = True`.
    """

    def combine(self, board: ScoreBoard) -> torch.Tensor:
        """The table (samples, layers) from the scores to be combined. Higher means: keep."""


Scorer: TypeAlias = ObservingScorer | QueryingScorer | CombiningScorer


class Selection(Protocol):
    """What a selector may look at: calibration examples only, never validation or test."""

    depth: int
    seed: int

    @property
    def board(self) -> ScoreBoard:
        """The scores of every scorer of the recipe."""

    @property
    def probe(self) -> Probe:
        """Asks the teacher how good it is with some layers left out; loaded when first used."""

    def counts(self, keep: int | Sequence[int]) -> list[int]:
        """How many layers each tier keeps, from a setting. Raises LwaError where one is more than there are."""

    def costs(self, kind: str) -> LayerCosts:
        """What each layer costs: `parameters`, `megabytes` or `milliseconds`, measured when first asked for."""


class Selector(Protocol):
    """Chooses the layers that stay."""

    def select(self, selection: Selection) -> DepthPlan:
        """The plan. Raises LwaError where the settings cannot be met (a budget below the smallest model)."""


class CompressionJob(Protocol):
    """What a compressor works on."""

    teacher: LayeredModel
    """The full model, in eval mode. Not to be changed."""

    student: LayeredModel
    """The model that the step before left (the teacher's own copy, before the first step). May be changed."""

    kept: tuple[int, ...]
    """The plan's tier: the teacher's layers that the student is to have, in order."""

    recommender: Recommender
    data: PreparedData
    seed: int
    workspace: Path
    """A folder that survives a kill: checkpoints go here."""

    report: Reporter

    def cut(self) -> LayeredModel:
        """The student with just the kept layers, if no step before has cut it yet; else the student."""

    def train(
        self,
        model: torch.nn.Module,
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        settings: TrainingSettings,
    ) -> torch.nn.Module:
        """Train `model` on the training part by the core's loop, with early stopping on validation NDCG@10."""


class Compressor(Protocol):
    """Makes the student smaller, or better at its size."""

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        """The new student. Its `save_pretrained` is called by the core, and `Recommender.load` must load that again."""
