"""The toolkit from Python: fit a recommender on a frame, load what a run left, recommend."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core.data import Examples, PreparedData
from lwa_core.data.frames import source_from_frame
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import LwaError, ModelError, PluginError, RecipeError
from lwa_core.modeling.files.model_folder import SUBJECT
from lwa_core.plugins.registry import OK, Registry
from lwa_core.plugins.restoring import facts_of
from lwa_core.recipe.recipe import Head
from lwa_core.recommendation.fitting import fit_model, generators_kept
from lwa_core.recommendation.loading import load_ranker
from lwa_core.recommendation.ranker import DESCRIPTION, Ranker
from lwa_core.recommendation.users import KnownUsers
from lwa_core.results.reading import is_finished
from lwa_core.settings import structure, unstructure
from lwa_core.store.files import read_json
from lwa_core.types import Quiet, Reporter

if TYPE_CHECKING:
    from lwa_core.runtime.served import Served
    from lwa_core.text.subject import TextModel


def fit(
    frame: Any,
    recommender: str = "sequential",
    *,
    user: str = "user",
    item: str = "item",
    timestamp: str | None = None,
    rating: str | None = None,
    time_unit: str = "auto",
    time_format: str | None = None,
    filter_seen: bool | None = None,
    duplicates: str = "all",
    min_rating: float | None = None,
    user_core: int = 1,
    item_core: int = 1,
    seed: int = 0,
    report: Reporter | None = None,
    **settings: Any,
) -> Ranker:
    """Fit a recommender on a frame of interactions, one row each.

    Nothing is held back for a test: the last item of every user stops the training, all before it is trained on. What
    was left out of the frame, and how its ids and times were read, is told to `report` and stands in the ranker's
    `facts`. The caller's random generators are left as they were.

    Args:
        frame: The interactions: a polars or pandas frame, an Arrow table, or a dict of columns.
        recommender: Name of the component.
        user: Column of user ids.
        item: Column of item ids.
        timestamp: Column of times; where left out the order of the rows is the order of time.
        rating: Column of ratings, for `min_rating`.
        time_unit: What numbers in the column of times count: `"s"`, `"ms"`, `"us"`, `"ns"`, or `"auto"`.
        time_format: Of times that are text, as `strptime` has it; found where left out.
        filter_seen: Whether items of a history are never recommended after it. None: they are not, unless users come
            back to items: then leaving those out would hide what is right.
        duplicates: Of several events of one user with one item keep the `"first"`, the `"last"`, or `"all"`.
        min_rating: Leave out interactions rated below this.
        user_core: Every user is to have at least this many events (iterated with `item_core`).
        item_core: Every item likewise.
        seed: Of the initial weights and the order of batches.
        report: Gets the progress, and what there is to say of the data.
        settings: Of the component, for example `layers=4`; `lwa plugins show NAME` lists them. With
            `checkpoint=folder`, `sequential` goes on training a model that `Ranker.save` or a run left.

    Raises:
        DataError: A column is missing, or the frame holds too little, or every item that stops the training is one
            that `filter_seen` hides.
        RecipeError: A setting is wrong.
    """
    offer = Registry.discover().find("recommender", recommender)
    instance = _checked(offer.load(), settings)
    kept = {"duplicates": duplicates, "user_core": user_core, "item_core": item_core}
    filters = _checked(Filter, {**kept, **({} if min_rating is None else {"min_rating": min_rating})})
    seed = _checked(Head, {"name": recommender, "seed": seed}).seed
    report = report or Quiet()
    source = source_from_frame(
        frame, user, item, timestamp, rating=rating, time_unit=time_unit, time_format=time_format
    )
    data = _nothing_held_back(prepare(source, filters, Split(), seed, report))
    if filter_seen is None:
        filter_seen = not data.seen(data.validation).any()
    with generators_kept(), tempfile.TemporaryDirectory(prefix="lwa-") as folder:
        model, _ = fit_model(instance, data, folder=Path(folder), seed=seed, filter_seen=filter_seen, report=report)
    return Ranker(
        model,
        instance,
        data.catalogue,
        recommender,
        unstructure(instance),
        filter_seen,
        provider=facts_of(offer.provider),
        time_unit=data.facts["time_unit"] or "auto",
        users=KnownUsers(lambda: data.for_recommender(instance)),
        facts={**data.facts, "steps": [attrs.asdict(step) for step in data.steps]},
    )


def _checked(kind: type, settings: Mapping[str, Any]) -> Any:
    """Settings as a recipe would read them. Raises RecipeError with all that is wrong."""
    made, problems = structure(kind, _plain(settings), (), None)
    if made is None:
        said = "; ".join(f"{p.message}{f' ({p.hint})' if p.hint else ''}" for p in problems)
        raise RecipeError(said, problems)
    return made


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Numpy's numbers as Python's, and paths as text, as TOML would give them."""
    return {
        name: value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, Path) else value
        for name, value in settings.items()
    }


def _nothing_held_back(data: PreparedData) -> PreparedData:
    """Give the test's targets to validation, and validation's and calibration's to training."""
    ends = data.train_ends.copy()
    ends[data.test.users] = data.test.positions
    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return attrs.evolve(data, train_ends=ends, validation=data.test, calibration=none, test=none)


def load(path: str | Path, model: str | None = None, *, plugins: Sequence[str | Path] = ()) -> Ranker:
    """Load a ranker from the folder of a saved model or of a run; by its run it knows the users of the data.

    Args:
        path: Folder of a model, or of a run.
        model: Which model of a run, for example `"teacher"`; the last student where left out.
        plugins: Python files whose recommenders and compressors the model needs. Their code is run.

    Raises:
        ModelError: There is no such model.
        PluginError: The model needs a component that neither an installed package nor a given file offers; the hint
            says who did when it was made. Or a given file cannot be used.
    """
    folder = _folder_of(Path(path), model)
    if (folder / SUBJECT).is_file():
        raise ModelError(f"{folder} holds a model of texts", "lwa_core.load_text loads it")
    ranker = load_ranker(folder, _with_files(plugins))
    return ranker if folder == Path(path) else attrs.evolve(ranker, users=KnownUsers.of_run(Path(path)))


def export_bundle(
    model: Ranker | str | Path,
    folder: str | Path,
    exporter: str = "onnx",
    *,
    name: str | None = None,
    index: bool | None = None,
    recall: float = 0.99,
    report: Reporter | None = None,
    **settings: Any,
) -> Served:
    """Write a model as a bundle, which answers without torch, and open it.

    Of a model whose data is known, because it was just fitted or loaded by its run, the bundle knows how often each
    item was trained on, and answers by that where the network fails; and an index is measured on its validation users.

    Args:
        model: A ranker, or the folder of a model or of a run.
        folder: Where the bundle is to lie; there may be nothing yet.
        exporter: Name of the component.
        name: Which model of a run; the last student where left out.
        index: Whether to make an index of the items, so that a request need not score all of them; None: of more than
            100,000, where it finds enough of the best ones.
        recall: Mean share of the ten best items that the index has to find, or is refused.
        report: Told where an index is left out.
        settings: Of the exporter, for example `weights="int8"`.

    Raises:
        ModelError: The model cannot be exported so, or the bundle in float32 answers differently; or an index is asked
            for that cannot be had.
        RecipeError: A setting is wrong.
        NeedsError: A package is not installed.
    """
    from lwa_core.pipeline.bundles import popularity_of, write_bundle

    offer = Registry.discover().find("exporter", exporter)
    instance = _checked(offer.load(), settings)
    ranker = model if isinstance(model, Ranker) else load(model, name)
    data = _data_of(ranker)
    served, _ = write_bundle(
        ranker,
        instance,
        Path(folder),
        report or Quiet(),
        popularity=None if data is None else popularity_of(data),
        histories=() if data is None else data.histories(data.validation),
        index=index,
        recall=recall,
    )
    return served


def _data_of(ranker: Ranker) -> PreparedData | None:
    """What a ranker was made with, where that is still known."""
    try:
        data = None if ranker.users is None else ranker.users.data
    except LwaError:  # the folder of a run may have been copied without its data
        return None
    return data if data is not None and data.catalogue.ids == ranker.ids else None


def load_text(path: str | Path, model: str | None = None, *, plugins: Sequence[str | Path] = ()) -> TextModel:
    """Load a model of texts from the folder of a saved model or of a run; `answer` and `vectors` ask it.

    Plain `from_pretrained` loads what most compressors leave, too; this loads what one left that replaced modules.

    Args:
        path: Folder of a model, or of a run.
        model: Which model of a run, for example `"teacher"`; the last student where left out.
        plugins: Python files whose compressors the model needs. Their code is run.

    Raises:
        ModelError: There is no such model.
        PluginError: As of `load`.
    """
    from lwa_core.text.loading import load_text_model

    folder = _folder_of(Path(path), model)
    if (folder / DESCRIPTION).is_file():
        raise ModelError(f"{folder} holds a recommender", "lwa_core.load loads it")
    return load_text_model(folder, registry=_with_files(plugins))


def _folder_of(folder: Path, model: str | None) -> Path:
    """The folder of one model: the given one where it is that, else of a run. Raises ModelError."""
    if any((folder / name).is_file() for name in (DESCRIPTION, SUBJECT)):
        if model is not None:
            raise ModelError(f"{folder} is the folder of one model and has no model '{model}'", "leave the name out")
        return folder
    if not is_finished(folder):
        raise ModelError(f"{folder} is neither the folder of a model nor of a finished run")
    names = _models_of(folder)
    chosen = model or names[-1]
    if chosen not in names:
        raise ModelError(f"the run has no model '{chosen}'", f"it has: {', '.join(names)}")
    return folder / "models" / chosen


def _models_of(folder: Path) -> list[str]:
    """Names of the models of a run, in its order. Raises ModelError where its results do not say them."""
    damaged = ModelError(
        f"{folder / 'metrics.json'} is damaged: it does not say which models there are", "run the recipe again"
    )
    said: Any = read_json(folder / "metrics.json")
    entries = said.get("models") if isinstance(said, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise damaged
    names = [entry.get("name") for entry in entries if entry.get("kind") not in ("baseline", "export")]
    plain = [name for name in names if isinstance(name, str) and Path(name).name == name and name != ".."]
    if not names or len(plain) < len(names):
        raise damaged
    return plain


def _with_files(files: Sequence[str | Path]) -> Registry:
    """The installed plugins, and these files."""
    registry = Registry.discover([Path(file) for file in files])
    broken = next((info for info in registry.plugins if info.file is not None and info.status != OK), None)
    if broken is not None:
        raise PluginError(f"the plugin {broken.file} is {broken.status}: {broken.error}")
    return registry
