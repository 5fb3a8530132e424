"""Models between the stages: written, read, and checked to come back as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from lwa_core.errors import ModelError
from lwa_core.plugins.protocols import TrainableSubject
from lwa_core.plugins.restoring import Restorer, facts_of
from lwa_core.recipe.recipe import Use
from lwa_core.store.files import read_json, write_json
from lwa_core.types import TrainingSettings

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.pipeline.graph import Job
    from lwa_core.training.trainer import Trained

MODEL = "model"
FACTS = "facts.json"
UNCUT = "uncut.json"
"""Lies with the result of a stage that was to cut a model to layers that its family cannot do with."""

T = TypeVar("T")


@attrs.frozen
class Healing:
    """A training that a compression step asked for: how, and the epoch whose weights were kept."""

    settings: TrainingSettings
    best_epoch: int


class LiveModel(Protocol):
    """A model in memory, with what it takes to ask, train and save it."""

    @property
    def layered(self) -> LayeredModel:
        """The network by its layers, in eval mode."""

    @property
    def subject(self) -> TrainableSubject:
        """How it is asked and trained."""

    @property
    def loads(self) -> Sequence[str]:
        """What loads it once `write_model` has shown that it comes back: names of libraries and our own."""

    def save(self, folder: Path) -> None:
        """Write it, so that the task's `load` has it again."""

    def sample(self) -> torch.Tensor:
        """What it answers to a few fixed questions, the same after a reload."""


@attrs.frozen(eq=False, slots=False)
class StoredModel:
    """A model that a stage left.

    Args:
        folder: Of the stage's result.
        open: Loads the model of a folder.
    """

    folder: Path
    open: Callable[[Path], LiveModel]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the stage wrote down: layers, depth, sizes, training."""
        return dict(read_json(self.folder / FACTS))

    @property
    def trained(self) -> Trained | None:
        """How its last training went, if there was one."""
        from lwa_core.training.trainer import Trained

        said = self.facts["training"]
        return None if said is None else Trained(**said)

    @property
    def healing(self) -> Sequence[Healing]:
        """How the step that made it trained it, one entry for each time; empty where it did not."""
        return [
            Healing(TrainingSettings(**each["settings"]), each["best_epoch"]) for each in self.facts.get("healing", ())
        ]

    @property
    def path(self) -> Path:
        """The folder of the model itself."""
        return self.folder / MODEL

    def load(self) -> LiveModel:
        """The model, anew: it may be changed."""
        return self.open(self.path)

    @cached_property
    def live(self) -> LiveModel:
        """The model, loaded once for all who only look at it."""
        return self.load()


def restorer_of(use: Use) -> Restorer:
    """A compressor of a recipe, as what restores the models that it made."""
    return Restorer(use.component, use.settings, use.instance, facts_of(use.offer.provider))


def cut_or_note(model: LayeredModel, layers: Sequence[int], job: Job) -> torch.nn.Module | None:
    """A model cut to these layers; None where its family cannot be, which is noted with the stage's result."""
    try:
        return model.keep(layers).model.eval()
    except ModelError as error:
        job.report.note(f"layers {list(layers)} alone cannot be measured: {error.message}")
        write_json(job.folder / UNCUT, {"why": error.message})
        return None


def read_unless_uncut(read: Callable[[Path], T], folder: Path) -> T | None:
    """What a stage left of a model cut to some layers; None where it could not be cut to them."""
    return None if (folder / UNCUT).is_file() else read(folder)


def write_model(
    folder: Path,
    model: LiveModel,
    layers: Sequence[int],
    trained: Trained | None,
    open: Callable[[Path], LiveModel],
    healing: Sequence[Healing] = (),
) -> None:
    """Write a model and its facts, and make sure that what was written gives the same answers again.

    Args:
        folder: Of the stage's result.
        model: What is written.
        layers: Which of the teacher's it has.
        trained: How its last training went, if there was one.
        open: Loads the model of a folder.
        healing: How a step that made a student trained it, one entry for each time.

    Raises:
        ModelError: The reloaded model answers differently.
    """
    from lwa_core.modeling.files.sizes import memory_bytes, parameter_count

    target = folder / MODEL
    target.mkdir()
    model.save(target)
    _assert_round_trip(model, open(target))
    network = model.layered.model
    write_json(
        folder / FACTS,
        {
            "layers": list(layers),
            "depth": model.layered.depth,
            "parameters": parameter_count(network),
            "bytes_memory": memory_bytes(network),
            "loads": list(model.loads),
            "training": attrs.asdict(trained) if trained is not None and trained.history else None,
            **({"healing": [attrs.asdict(each) for each in healing]} if healing else {}),
        },
    )


def _assert_round_trip(model: LiveModel, again: LiveModel) -> None:
    import torch

    before, after = model.sample().double(), again.sample().double()
    if not bool(torch.isfinite(before).all()):
        raise ModelError("the model answers with numbers that are not finite", "train it with a lower learning rate")
    if after.shape != before.shape:
        said = f"the saved model gives scores {tuple(after.shape)}, the one in memory {tuple(before.shape)}"
        raise ModelError(said, "`load` has to give the model that `save_pretrained` saved")
    error = float((before - after).abs().max())
    if not error <= 1e-5 * max(1.0, float(before.abs().max())):
        raise ModelError(_why_other(model, before, again, error))


def _why_other(model: LiveModel, before: torch.Tensor, again: LiveModel, error: float) -> str:
    """What may be behind the other answers of a reloaded model."""
    if not model.sample().double().equal(before):
        return "the model gives other scores each time that it is asked the same"
    mode = ", in training mode" if again.layered.model.training else ""
    return f"the saved model gives other scores{mode} than the one in memory (off by {error:.3g})"
