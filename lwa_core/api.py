"""The toolkit from Python: fit a recommender on a frame, load what a run left, recommend."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from lwa_core.data import Examples, PreparedData
from lwa_core.data.frames import source_from_frame
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import ModelError, RecipeError
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.fitting import fit_model
from lwa_core.recommendation.ranker import DESCRIPTION, Ranker, load_ranker
from lwa_core.settings import structure, unstructure
from lwa_core.store.files import read_json
from lwa_core.types import Quiet, Reporter


def fit(
    frame: Any,
    recommender: str = "sequential",
    *,
    user: str = "user",
    item: str = "item",
    timestamp: str | None = None,
    seed: int = 0,
    report: Reporter | None = None,
    **settings: Any,
) -> Ranker:
    """Fit a recommender on a polars or pandas frame of interactions, one row each.

    Nothing is held back for a test: the last item of every user stops the training, all before it is trained on.

    Args:
        frame: The interactions.
        recommender: Name of the component.
        user: Column of user ids.
        item: Column of item ids.
        timestamp: Column of times; where left out the order of the rows is the order of time.
        seed: Of the initial weights and the order of batches.
        report: Gets the progress.
        settings: Of the component, for example `layers=4`; `lwa plugins show NAME` lists them.

    Raises:
        DataError: A column is missing or the frame holds too little.
        RecipeError: A setting is wrong.
    """
    offer = Registry.discover().find("recommender", recommender)
    instance, problems = structure(offer.load(), settings, (), None)
    if instance is None:
        raise RecipeError("; ".join(problem.message for problem in problems), problems)
    source = source_from_frame(frame, user=user, item=item, timestamp=timestamp)
    data = _nothing_held_back(prepare(source, Filter(duplicates="all"), Split(), seed))
    with tempfile.TemporaryDirectory(prefix="lwa-") as folder:
        model, _ = fit_model(instance, data, folder=Path(folder), seed=seed, filter_seen=True, report=report or Quiet())
    return Ranker(model, instance, data.catalogue, recommender, unstructure(instance))


def _nothing_held_back(data: PreparedData) -> PreparedData:
    """Give the test's targets to validation, and validation's and calibration's to training."""
    ends = data.train_ends.copy()
    ends[data.test.users] = data.test.positions
    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return attrs.evolve(data, train_ends=ends, validation=data.test, calibration=none, test=none)


def load(path: str | Path, model: str | None = None) -> Ranker:
    """Load a ranker from the folder of a saved model or of a run.

    Args:
        path: Folder of a model, or of a run.
        model: Which model of a run, for example `"teacher"`; the last student where left out.

    Raises:
        ModelError: There is no such model.
    """
    folder = Path(path)
    if (folder / DESCRIPTION).is_file():
        if model is not None:
            raise ModelError(f"{folder} is the folder of one model and has no model '{model}'", "leave the name out")
        return load_ranker(folder)
    if not (folder / "metrics.json").is_file():
        raise ModelError(f"{folder} is neither the folder of a model nor of a finished run")
    names = _model_names(folder / "metrics.json")
    chosen = model or names[-1]
    if chosen not in names:
        raise ModelError(f"the run has no model '{chosen}'", f"it has: {', '.join(names)}")
    return load_ranker(folder / "models" / chosen)


def _model_names(file: Path) -> list[str]:
    """The models of a finished run that can be loaded; each is the name of a folder."""
    told = read_json(file)
    try:
        names = [entry["name"] for entry in told["models"] if entry["kind"] != "baseline"]
        if names and all(isinstance(name, str) and Path(name).name == name for name in names):
            return names
    except (KeyError, TypeError):
        pass
    raise ModelError(f"{file} is damaged: it does not say which models there are", "run the recipe again")
