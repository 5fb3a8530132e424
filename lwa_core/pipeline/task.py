"""What differs between recommendation and texts: data, teacher, quality. All else is the same pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lwa_core.data.dataset import Examples
from lwa_core.pipeline.graph import Inputs, Job, Stage
from lwa_core.pipeline.models import LiveModel, StoredModel
from lwa_core.plugins.protocols import TrainableSubject
from lwa_core.recipe.recipe import Recipe
from lwa_core.types import Batch, History, LayerScores, Reporter, TrainingSettings

if TYPE_CHECKING:
    import torch

    from lwa_core.measuring.performance import Timed
    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.modeling.probing.probe import Probe
    from lwa_core.modeling.probing.subset_answers import SubsetAnswers
    from lwa_core.results.assembly import Quality
    from lwa_core.training.trainer import Trained

Asked = tuple[Sequence[History], NDArray[np.int64]]
"""Histories and the target of each (examples,)."""


class Task(Protocol):
    """What a recipe's `task` stands for.

    `data` below is the value of the data stage, which is the task's own affair.
    """

    @property
    def recipe(self) -> Recipe:
        """Whose task it is."""

    @property
    def metric(self) -> str:
        """The name of the figure that `headline` gives."""

    @property
    def ranked(self) -> dict[str, Any]:
        """How the report ranks a target, as `k` and `filter_seen` of a `Probe`, JSON-ready; `k`: None where it has no
        NDCG.
        """

    @property
    def files_of_histories(self) -> Sequence[str]:
        """The files of the data stage that a run folder gets, so that users can be asked for by their ids."""

    def data(self) -> Stage[Any]:
        """The stage that prepares the data and splits it."""

    def teacher(self, data: Stage[Any]) -> Stage[StoredModel]:
        """The stage that trains or loads the full model."""

    def refitted(self, teacher: Stage[StoredModel]) -> tuple[Stage[Any], Stage[StoredModel]] | None:
        """The data with all but the test in its training part, and the full model trained anew on it as `teacher` was;
        None where the recipe does not ask for that.
        """

    def open(self, folder: Path) -> LiveModel:
        """A model that was saved in `folder`."""

    def with_network(self, model: LiveModel, network: torch.nn.Module, compressed_by: Any) -> LiveModel:
        """The same with another network; `compressed_by`: the `Use` whose compressor restores it, if any."""

    def calibration(self, data: Any, model: LiveModel) -> Asked:
        """What scorers and selectors look at: at most as many examples as the recipe says."""

    def held_out(self, data: Any, model: LiveModel, count: int) -> Asked:
        """At most `count` test examples, for benchmarks of choices that were made."""

    def by_unit(self, data: Any, model: LiveModel, scores: LayerScores) -> LayerScores:
        """A table of one row an example as one of independent rows, where several examples hang together."""

    def training_targets(self, data: Any) -> int:
        """How many targets the full model was trained on; 0 where that is not known."""

    def windows(self, data: Any, subject: TrainableSubject) -> list[History]:
        """The training examples."""

    def for_selection(self, data: Any) -> Any:
        """What of the data the scoring and choosing of layers may look at: no validation and no test target."""

    def for_students(self, data: Any) -> Any:
        """What of the data the making of a student may look at: no calibration and no test target."""

    def train(
        self,
        data: Any,
        model: torch.nn.Module,
        subject: TrainableSubject,
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        settings: TrainingSettings,
        folder: Path,
        report: Reporter,
        stop_after: int | None = None,
    ) -> Trained:
        """Train a network in place, stopped by its quality on the validation examples, or after a chosen epoch."""

    def untrained(self, data: Any, model: LiveModel) -> torch.nn.Module:
        """A network like the teacher's with random weights, drawn with the seed: a control for scorers."""

    @property
    def probe_class(self) -> type[Probe]:
        """What asks the model with layers left out."""

    def quality(self, name: str, data: Stage[Any], model: Stage[Any]) -> Stage[Any] | None:
        """The stage that measures a model on the test examples; None where there are none."""

    def cut_quality(
        self, name: str, data: Stage[Any], teacher: Stage[StoredModel], layers: Sequence[int]
    ) -> Stage[Any] | None:
        """The stage that measures the teacher with nothing but these layers; its value is None where it cannot be cut
        to them. None where there are no test examples.
        """

    def baselines(self, data: Stage[Any], teacher: Stage[StoredModel], chosen_on: Stage[Any]) -> Stage[Any] | None:
        """The stage that measures what needs no layers; `chosen_on`: the data by whose validation part it is set."""

    def headline(self, quality: Any) -> float:
        """The figure of a quality that sentences are about."""

    def figures(self, data: Any, qualities: Mapping[str, Any], baselines: Any, controls: Mapping[str, str]) -> Quality:
        """Every model's figures with intervals, the teacher's first.

        Args:
            data: What was measured on.
            qualities: The values of the stages that measured, by model.
            baselines: The value of the stage of the baselines.
            controls: By the name of a student that of the model that it is held against besides the teacher.
        """

    def account(self, data: Any) -> dict[str, Any]:
        """What the data is, JSON-ready, for results."""

    def calibration_size(self, data: Any) -> int:
        """How many calibration examples there are, without asking a model."""

    def quality_of(self, data: Any, model: LiveModel, report: Reporter) -> float:
        """The same figure of a model in memory, on all test examples."""

    def requests(self, data: Any, count: int) -> Sequence[Mapping[str, Any]]:
        """At most `count` requests of test users for timing, as they are sent, JSON-ready."""

    def answering(self, model: LiveModel) -> Timed:
        """What answers many of these requests, and what the network alone does with them."""

    # What is tried before work begins (`lwa_core.pipeline.smoke_test`)

    def smoke_inputs(self, data: Stage[Any], teacher: Stage[StoredModel]) -> Inputs:
        """What the smoke test needs of the run: `data`, and `teacher` where having it takes no training."""

    def smoke_teacher(self, data: Stage[Any], job: Job) -> Stage[StoredModel]:
        """The full model of the smoke test: hardly trained, or what the job was given."""

    def excerpt(self, data: Any, whole: bool) -> Any:
        """A few rows of the data, none of them a test row.

        With `whole`, all that components may look at when the model is built, scored and selected on.
        """

    def assert_sound(self, data: Any, model: LiveModel) -> None:
        """Raise LwaError where a model's answers depend on more than what is asked."""


def drawn(examples: Examples, count: int, seed: int) -> Examples:
    """At most `count` of the examples, drawn with the seed, in their order."""
    if len(examples) <= count:
        return examples
    return examples.take(drawn_rows(len(examples), count, seed))


def drawn_rows(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """Which of `total` examples are drawn where at most `count` may be, in their order."""
    if total <= count:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, size=count, replace=False))


def make_probe(
    task: Task,
    data: Any,
    model: LiveModel,
    report: Reporter,
    answers: SubsetAnswers | None = None,
    *,
    network: LayeredModel | None = None,
) -> Probe:
    """A probe of a model on the recipe's calibration examples; of another `network` in its place, if given."""
    calibration = task.recipe.calibration
    histories, targets = task.calibration(data, model)  # copies: they lead to nothing else of the data
    return task.probe_class(
        network or model.layered,
        model.subject,
        histories,
        targets,
        utility=calibration.utility,
        repair=calibration.repair,
        **task.ranked,
        batch=calibration.batch,
        seed=task.recipe.seed,
        report=report,
        answers=answers,
        training_targets=task.training_targets(data),
    )
