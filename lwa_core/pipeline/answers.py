"""What a store knows of a model with layers left out: asked once, whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from lwa_core.pipeline.graph import Stage
from lwa_core.pipeline.task import Task
from lwa_core.settings import unstructure
from lwa_core.store.files import digest
from lwa_core.store.results import Store

if TYPE_CHECKING:
    from lwa_core.modeling.probing.subset_answers import SubsetAnswers

VERSION = 3
"""Goes up when the same question gets another answer."""


def answers_key(task: Task, teacher: Stage[Any]) -> str:
    """Key of what is asked of the teacher with layers left out, whoever asks it.

    Losses, ranks and divergences do not depend on which utility is made of them, nor on the cut-off of an NDCG.
    """
    recipe = task.recipe
    asked = {name: value for name, value in unstructure(recipe.calibration).items() if name != "utility"}
    return digest(["answers", VERSION, teacher.key, recipe.seed, asked, task.ranked["filter_seen"]])


def stored_answers(store: Store, about: str) -> SubsetAnswers:
    """What the store knows of a model with layers left out; new answers are added to it.

    Args:
        store: Where they lie, one result for every family of subsets that was asked for.
        about: Key of the model and the calibration examples.
    """
    from lwa_core.modeling.probing.subset_answers import SubsetAnswers

    answers = SubsetAnswers()
    for folder in sorted(store.path("answers", about[:32]).parent.glob(f"{about[:32]}-*")):
        if store.find("answers", folder.name) is not None:
            answers.learn(load_file(folder / "answers.safetensors"))

    def keep(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        name = digest([sorted(arrays), arrays["kept"].tolist()])

        def make(folder: Path) -> None:
            contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
            save_file(contiguous, folder / "answers.safetensors")

        store.get_or_make("answers", f"{about[:32]}-{name[:32]}", make)

    answers.keep = keep
    return answers
