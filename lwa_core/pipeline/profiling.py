"""Measure what lies in a run folder, or a bundle, against profiles of devices, whenever somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lwa_core.errors import ModelError
from lwa_core.measuring.configurations import REQUESTS, measure_configurations
from lwa_core.recipe.profiles import Profile
from lwa_core.recommendation.users import HISTORIES, KnownUsers
from lwa_core.results.as_json import from_json
from lwa_core.results.devices import Device, busy, fit_of
from lwa_core.results.reading import Results, read_results
from lwa_core.results.schema import Configuration, ModelResult
from lwa_core.runtime.description import DESCRIPTION, IDS, IDS_ENDS, MEASURED, read_described
from lwa_core.runtime.stored_texts import StoredTexts
from lwa_core.store.files import read_json
from lwa_core.types import Reporter

SECOND = 1000
"""Milliseconds between two made-up events."""


def is_bundle(folder: Path) -> bool:
    """Whether a folder is that of a bundle."""
    return (folder / DESCRIPTION).is_file()


def profiled(folder: Path, profiles: Sequence[Profile], names: Sequence[str], report: Reporter) -> list[Device]:
    """What fresh processes on this machine take, beside what each profile allows.

    Args:
        folder: Of a finished run, or of a bundle.
        profiles: What to measure against.
        names: Which models and bundles of a run; none: what its last step left, and all bundles.
        report: Gets the progress.

    Raises:
        ModelError: The run has no model of that name, or one cannot answer.
        StoreError: The run has not finished.
    """
    if is_bundle(folder):
        if names:
            raise ModelError(f"{folder} is one bundle and has no models to choose from", "leave --model out")
        own, headline = _measured_model(folder)
        models = {folder.name: own}
        folders, requests = {folder.name: folder}, drawn_requests(folder)
    else:
        results = read_results(folder)
        headline = results.headline
        models = dict(_chosen(results, names))
        folders = {name: place_of(folder, model) for name, model in models.items() if model is not None}
        requests = requests_of_users(folder)
    taken = {
        threads: measure_configurations(folders, requests, threads, report)
        for threads in sorted({profile.limits.threads for profile in profiles})
    }
    return [_device(profile, models, headline, taken[profile.limits.threads]) for profile in profiles]


def place_of(run: Path, model: ModelResult) -> Path:
    """Where a model or bundle of a run lies."""
    return run / ("bundles" if model.kind == "export" else "models") / model.name


def drawn_requests(bundle: Path) -> list[dict[str, Any]]:
    """Requests for a bundle whose users nobody knows here: items drawn at random, as many as it looks at."""
    described = read_described(bundle)
    ids, rng = StoredTexts.read(bundle, IDS, IDS_ENDS, described.items), np.random.default_rng(0)
    drawn = rng.integers(0, len(ids), (REQUESTS, described.history))
    times = {"times": [SECOND * place for place in range(described.history)], "time_unit": "ms"}
    return [{"history": [ids[item] for item in row], **(times if described.times else {})} for row in drawn.tolist()]


def requests_of_users(run: Path) -> list[dict[str, Any]]:
    """Requests of the users of a run, drawn, with all that they did."""
    from lwa_core.pipeline.recommendation_task import sent

    if not (run / HISTORIES).is_dir():
        raise ModelError(f"{run} holds no histories of users", "run the recipe again; runs over texts have no profiles")
    data = KnownUsers.of_run(run).data
    rows = np.random.default_rng(0).permutation(data.users)[:REQUESTS]
    return [dict(sent(data.history_of(int(row)), data)) for row in rows]


def _chosen(results: Results, names: Sequence[str]) -> list[tuple[str, ModelResult | None]]:
    there = {model.name: model for model in results.models if model.kind != "baseline"}
    finals = [*results.finals, *results.of_kind("export")] or [results.teacher]
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ModelError(f"the run has no model '{unknown[0]}'", f"it has: {', '.join(there)}")
    return [(name, there[name]) for name in names or [model.name for model in finals]]


def _measured_model(bundle: Path) -> tuple[ModelResult | None, str]:
    """What the run that made a bundle measured of it, and the run's headline; None where it does not lie beside it."""
    file = bundle / MEASURED
    if not file.is_file():
        return None, ""
    told: Any = read_json(file)
    try:
        return from_json(told["model"], ModelResult), str(told["headline"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is damaged: {error}", "copy it again, or remove it") from error


def _device(
    profile: Profile,
    models: Mapping[str, ModelResult | None],
    headline: str,
    taken: Mapping[str, Mapping[str, Any]],
) -> Device:
    every = {name: from_json(own, Configuration) for name, own in taken.items()}
    fits = [fit_of(name, model, headline, profile.limits, every[name]) for name, model in models.items()]
    return Device(profile.name, profile.limits, tuple(fits), busy(every.values()))
