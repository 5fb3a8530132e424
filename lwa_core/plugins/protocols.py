"""What a dataset, recommender, scorer, selector, compressor and exporter is.

A component is an attrs class: its fields are its settings, its methods are its job. Nothing here needs to be inherited
from; a class that has the methods is one. The core reads nothing of a component that no protocol here names, nor that
of a subject (`lwa_core.modeling.probing.subject`) or of times (`lwa_core.data.timed`), on which a recommender's rests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

import attrs

from lwa_core.modeling.probing.subject import Subject

if TYPE_CHECKING:
    import torch

    from lwa_core.data.dataset import Catalogue
    from lwa_core.data.source import Source
    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.modeling.probing.observation import Observation
    from lwa_core.modeling.probing.probe import Probe
    from lwa_core.types import (
        Batch,
        DepthPlan,
        Floats,
        History,
        LayerCosts,
        Losses,
        Reporter,
        ScoreBoard,
        TrainingSettings,
    )


class Dataset(Protocol):
    """Reads interactions from files, or makes them."""

    def files(self) -> Sequence[Path]:
        """Every file that `read` will open: their contents are part of the cache key. Raises DataError if one lacks."""

    def read(self) -> Source:
        """Raw events and items. Raises DataError, with file and line, for what cannot be read."""


# Recommenders


class Trainable(Protocol):
    """How a model is trained by the core's loop."""

    def training(self) -> TrainingSettings:
        """How the core's loop is to train it."""

    def training_windows(self, sequences: Sequence[History]) -> list[History]:
        """Cut the training sequences into what one training example each is made of."""

    def training_batch(self, windows: Sequence[History]) -> Batch:
        """A batch with a target at every position that is to be learnt."""

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        """Loss of every example (sum over its targets, and how many there were)."""


class Persistent(Protocol):
    """How a model is made, and had again from its files."""

    def build(self, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
        """A fresh model for this catalogue, initialised from torch's global generator (which the caller has seeded)."""

    def load(self, folder: Path) -> torch.nn.Module:
        """The model saved in `folder`, compressed or not, in eval mode. Raises ModelError."""


@runtime_checkable
class Ranks(Protocol):
    """How a model ranks the whole catalogue."""

    def scores(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Score of every item after each history (examples, items); higher is better."""


class TrainableSubject(Subject, Trainable, Protocol):
    """What a compressor needs of a model besides its layers: it is asked as scorers ask it, and trained."""


class Recommender(TrainableSubject, Persistent, Ranks, Protocol):
    """Builds a transformer that ranks a catalogue, and says how histories become batches, losses and scores.

    Items are indices into the catalogue (0-based) on this side of the interface; what ids the model uses inside is its
    own affair. Metrics are computed by the core. The list of transformer blocks is found in the model; where several
    lists could be it, `NamesBlocks` says which. One that asks for times is `UsesTimes`, one that reads files
    `ReadsFiles`, one that is fitted in another form than it is kept in `Adapting`, one that builds on the table of
    transitions `UsesTransitions`.
    """


@runtime_checkable
class ReadsFiles(Protocol):
    """What a recommender has besides, where `build` reads files: a change of one of them makes another model."""

    def files(self) -> Sequence[Path]:
        """Every file that `build` will open. Raises DataError if one lacks."""


@runtime_checkable
class StatesDepth(Protocol):
    """What a recommender may have besides, so that `lwa check` can compare what is to be kept with what there is."""

    @property
    def depth(self) -> int | None:
        """How many layers the model that `build` gives will have; None where that is not known before it is built."""


@runtime_checkable
class Adapting(Protocol):
    """What a recommender may offer besides, so that a model is fitted in another form than it is kept in."""

    def adapt(self, model: torch.nn.Module, sequences: Sequence[History], report: Reporter) -> torch.nn.Module:
        """The form to be fitted, made of what `build` gave; `sequences` are the users' training parts."""

    def merge(self, model: torch.nn.Module) -> torch.nn.Module:
        """The form to be kept, which `load` must give again, made of what was fitted."""


class FittedTransitions(Protocol):
    """A table of transitions, as `lwa_core.recommendation.transitions` has its formula and says what each part is."""

    @property
    def settings(self) -> Any:
        """The knobs of the formula."""

    @property
    def evidence(self) -> Any:
        """g(W) (items, items), a sparse array of scipy."""

    @property
    def shares(self) -> Floats:
        """Share of each item among the training events, p (items,)."""

    @property
    def units(self) -> Floats:
        """What a pair of weight 1 adds to W · (n p)^β, by the item that it begins at (items,)."""

    @property
    def events(self) -> int:
        """How many training events there were."""

    @property
    def features(self) -> Any:
        """Unit rows (items, terms), sparse; None where titles and categories add nothing."""


@runtime_checkable
class UsesTransitions(Protocol):
    """What a recommender may offer besides, whose model holds the table of transitions that every run tunes."""

    @property
    def uses_transitions(self) -> bool:
        """Whether it does. A setting will do."""

    def with_transitions(
        self, model: torch.nn.Module, table: FittedTransitions, sequences: Sequence[History]
    ) -> torch.nn.Module:
        """The model that `build` gave, with the table; `sequences` are those that it was fitted to."""

    def weigh_network(self, model: torch.nn.Module, factor: float) -> None:
        """Multiply what the model adds to the table's scores by a power of 2, in place and exactly."""


def uses_transitions(recommender: object) -> TypeGuard[UsesTransitions]:
    """Whether a recommender's model holds the table of transitions."""
    return isinstance(recommender, UsesTransitions) and recommender.uses_transitions


# Scorers


@runtime_checkable
class ObservingScorer(Protocol):
    """Looks at one pass over the calibration examples. All observing scorers of a recipe share one pass.

    What `observe` gives is the table, unless the scorer is `Finishing`. One that observes `sampled_gradient_norms` is
    `DrawsLabels`.
    """

    @property
    def observes(self) -> frozenset[str]:
        """What it needs: any of `lwa_core.modeling.OBSERVABLES`. A class attribute will do."""

    def observe(self, seen: Observation) -> torch.Tensor:
        """Scores of one micro-batch (examples, layers), or what `finish` needs of it. Higher means: keep."""


@runtime_checkable
class Finishing(Protocol):
    """What an observing scorer has besides, where it needs all examples at once."""

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        """The table (samples, layers), from what `observe` gave for all micro-batches together.

        Where there is one row for each example, the rows are in the examples' own order.
        """


@runtime_checkable
class DrawsLabels(Protocol):
    """What an observing scorer has besides, where labels are to be drawn more than once. A setting will do."""

    @property
    def draws(self) -> int:
        """How many drawings of labels it needs."""


@runtime_checkable
class QueryingScorer(Protocol):
    """Asks how good the model is with some layers left out. All queries of a run share their prefixes and answers."""

    def score(self, probe: Probe) -> torch.Tensor:
        """The table (samples, layers). Higher means: keep."""


@runtime_checkable
class CombiningScorer(Protocol):
    """Makes scores out of the other scorers' scores. Runs after them, whatever the order in the recipe.

    It never sees the model, nor what another combining scorer made. It gets the scores of those that `NamesScorers`
    says; of all but the baselines where it names none.
    """

    def combine(self, board: ScoreBoard) -> torch.Tensor:
        """The table (samples, layers) from the scores to be combined. Higher means: keep."""


Scorer: TypeAlias = ObservingScorer | QueryingScorer | CombiningScorer


@runtime_checkable
class NamesScorers(Protocol):
    """What a combining scorer or a compressor has besides, where a recipe may say whose scores it gets.

    A setting will do.
    """

    @property
    def of(self) -> Sequence[str]:
        """Names of scorers, as the recipe calls them; empty: all but the baselines, for a compressor none."""


@runtime_checkable
class Baseline(Protocol):
    """What a scorer has besides that looks at nothing, or at something else than importance, and is to be beaten."""

    @property
    def baseline(self) -> bool:
        """Whether it is one. A class attribute will do."""


@runtime_checkable
class HasUnit(Protocol):
    """What a scorer has besides, where its scores have a unit."""

    @property
    def unit(self) -> str:
        """What the scores are measured in, for example "nats". A class attribute will do."""


# Selectors


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


@runtime_checkable
class Keeps(Protocol):
    """What a selector or scorer has besides, as a setting, where it is told how many layers stay.

    `lwa check` compares it with the depth that a recommender states, and `lwa bench` sets it for selectors.
    """

    @property
    def keep(self) -> int | Sequence[int] | None:
        """How many layers stay; several: as many tiers. None: something else says so."""


# Compressors


class CompressionJob(Protocol):
    """What a compressor works on."""

    teacher: LayeredModel
    """The full model, in eval mode. Not to be changed."""

    student: LayeredModel
    """The model that the step before left (the teacher's own copy, before the first step). May be changed."""

    kept: tuple[int, ...]
    """The plan's tier: the teacher's layers that the student is to have, in order."""

    subject: TrainableSubject
    """How the models are asked and trained."""

    board: ScoreBoard
    """The scores of the scorers that the compressor names (`NamesScorers`); empty where it names none."""

    windows: Sequence[History]
    """The training examples. Nothing else of the data is lent: no validation, calibration or test target."""

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
        """Train `model` on `windows` by the core's loop, stopped early by the quality on validation examples."""


class Compressor(Protocol):
    """Makes the student smaller, or better at its size."""

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        """The new student. It is saved by its `save_pretrained`, and the subject must load that again.

        One whose students have other modules than the subject builds is `Restoring`.
        """


@runtime_checkable
class Restoring(Protocol):
    """What a compressor offers besides, where its students have other modules than the subject would build.

    Both halves of keeping such a model: `lwa_core.save_weights` and `lwa_core.load_weights` do for one whose weights
    are tensors.
    """

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the weights into `folder`, where `config.json` lies already: safetensors and JSON, nothing pickled."""

    def restore(self, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
        """What was saved in `folder`, made of `model`: a model of the saved configuration, with weights of no use."""


# Exporters


@attrs.frozen(eq=False)
class ExportedParts:
    """A recommender's model taken apart, so that it can be run without it.

    Scores are state · vector of the item, plus those of a table of transitions where there is one.

    Args:
        network: From rows of item vectors (examples, time, width), float32, the last place of each example (examples,),
            int64, and where it looks at times those in milliseconds (examples, time), int64, to states
            (examples, width). In eval mode; made of torch's plain operations.
        table: Vectors of the catalogue's items (items, width).
        special: Rows of the ids of no item: padding, and the mask where it asks with one (special, width).
        history: Longest input, the mask included.
        mask: Whether a mask, the last special row, stands behind the history.
        times: Whether the network looks at times.
        transitions: The table, and the factor with which it counts; None: there is none.
    """

    network: torch.nn.Module
    table: torch.Tensor
    special: torch.Tensor
    history: int
    mask: bool = False
    times: bool = False
    transitions: TransitionArrays | None = None


@attrs.frozen(eq=False)
class TransitionArrays:
    """A table of transitions as `docs/bundle.md` has it: settings, JSON-ready, and its arrays by name.

    Of the settings `offset` is None where the scores count as they are, and not as logits.
    """

    settings: Mapping[str, Any]
    arrays: Mapping[str, Any]


@runtime_checkable
class Exportable(Protocol):
    """What a recommender may offer besides, so that exporters can take its models."""

    def parts(self, model: torch.nn.Module) -> ExportedParts | TransitionArrays:
        """The model taken apart; one that has no network is its table of transitions alone.

        Args:
            model: A copy in float32 on the CPU, in eval mode; adapters are merged into its weights, and weights in 4
                bits decoded.

        Raises:
            ModelError: This one cannot be taken apart.
        """


class Exporter(Protocol):
    """Writes a network in a form that runs without torch."""

    def export(self, parts: ExportedParts, file: Path, report: Reporter) -> Mapping[str, Any]:
        """Write the network as one file of ONNX; all else of a bundle is written by the core.

        Returns:
            `weights`, their format; `table`, that in which the core is to write the item table (`float32`, `float16`
            or `int8`); and `quantised`, how many products are.

        Raises:
            ModelError: It cannot be written so.
            NeedsError: A package is not installed.
        """
