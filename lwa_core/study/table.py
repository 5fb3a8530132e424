"""The results of a study as one tidy table: a row for each cell, seed, model and metric; rows are only ever added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lwa_core.errors import StoreError
from lwa_core.results.devices import devices
from lwa_core.results.reading import Results
from lwa_core.results.schema import Figure, ModelResult, Training
from lwa_core.statistics.learning_curve import fit_curve
from lwa_core.store.files import write_atomically
from lwa_core.store.refusals import explained

COLUMNS: dict[str, Any] = {
    "study": pl.String,
    "cell": pl.String,
    "settings": pl.String,
    "seed": pl.Int64,
    "model": pl.String,
    "kind": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "key": pl.String,
    "run": pl.String,
    "measured": pl.String,
    "lwa": pl.String,
    "machine": pl.String,
}
"""`settings` is JSON; `key` says what was run, `run` where it lies in the store; `low` and `high` are of one run."""


def rows_of(results: Results) -> Iterator[dict[str, Any]]:
    """What one run measured, a row for each model and metric."""
    by_name = {model.name: model for model in results.models}
    for model in results.models:
        yield from _rows(model, model.metrics)
        yield from _rows(model, {f"kept {metric}": figure for metric, figure in (model.kept or {}).items()})
        yield from _rows(model, _sizes(results, model))
    for training in results.metrics.training:
        yield from _rows(by_name.get(training.name, results.teacher), _trained(training))
    for scores in results.metrics.scores:
        yield from _rows(results.teacher, {f"score {scores.name} {layer}": s for layer, s in enumerate(scores.mean)})
    for device in devices(results):
        for fit in device.fits:
            yield from _rows(by_name[fit.name], {f"passes {device.name}": float(fit.passed)})
    for stage in () if results.performance is None else results.performance.stages:
        if not stage.reused and stage.stage in by_name:
            yield from _rows(by_name[stage.stage], {"seconds to make": stage.seconds})


def _rows(model: ModelResult, found: Mapping[str, Figure | float | None]) -> Iterator[dict[str, Any]]:
    for metric, value in found.items():
        figure = value if isinstance(value, Figure) or value is None else Figure(float(value))
        if figure is not None and figure.mean is not None:
            told = {"value": figure.mean, "low": figure.low, "high": figure.high}
            yield {"model": model.name, "kind": model.kind, "metric": metric, **told}


def _trained(training: Training) -> dict[str, float]:
    """How long, and what the epoch shows whose weights were kept."""
    kept = [epoch for epoch in training.history if epoch["epoch"] == training.best_epoch]
    shown = {f"{name} at the best epoch": value for epoch in kept for name, value in epoch.items() if name != "epoch"}
    metric = next((name for epoch in training.history for name in epoch if name not in ("epoch", "loss")), None)
    curve = None if metric is None else fit_curve([epoch[metric] for epoch in training.history if metric in epoch])
    fitted = {} if curve is None else {"curve limit": curve.limit, "curve missed": curve.missed}
    return {"best epoch": training.best_epoch, "epochs": len(training.history), **shown, **fitted}


def _sizes(results: Results, model: ModelResult) -> dict[str, float | None]:
    latency, memory, ratio = results.latency(model.name), results.memory(model.name), results.time_ratio(model)
    return {
        "depth": model.depth,
        "parameters": model.parameters,
        "bytes on disk": model.bytes_disk,
        "bytes in memory": model.bytes_memory,
        "latency p50 ms": None if latency is None or results.unreliable else latency.p50,
        "times the teacher's latency": None if ratio is None else ratio.mean,
        "memory of the process": None if memory is None else memory.peak,
    }


class StudyTable:
    """The table of a study in a folder, as Parquet and as CSV beside it.

    Args:
        folder: Where it lies.
        name: Of the study.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.parquet"

    def read(self) -> pl.DataFrame:
        """All rows; an empty frame where there are none yet. Raises StoreError where the file is damaged."""
        if not self.file.exists():
            return pl.DataFrame(schema=COLUMNS)
        try:
            frame = pl.read_parquet(self.file)
        except Exception as error:
            raise StoreError(f"{self.file} cannot be read: {error}", "move it away; the runs are stored") from error
        if dict(frame.schema) != COLUMNS:
            raise StoreError(f"{self.file} is no table of a study", "move it away, or give another --results")
        return frame

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows behind those that are there. Raises StoreError where the files cannot be written."""
        if not rows:
            return
        frame = pl.concat([self.read(), pl.DataFrame(rows, schema=COLUMNS)])
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, _bytes(frame))
            write_atomically(self.file.with_suffix(".csv"), frame.write_csv().encode())


def read_study(path: Path | str) -> pl.DataFrame:
    """The table of a study, a row for each cell, seed, model and metric.

    Args:
        path: Its Parquet file, or the folder that holds it alone.

    Raises:
        StoreError: There is none, or several, or it is damaged.
    """
    path = Path(path)
    found = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise StoreError(f"{path} holds the tables of {len(found)} studies: {names}", "name the file")
    if not found[0].is_file():
        raise StoreError(f"there is no table of a study at {path}")
    return StudyTable(found[0].parent, found[0].stem).read()


def _bytes(frame: pl.DataFrame) -> bytes:
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def newest(frame: pl.DataFrame) -> pl.DataFrame:
    """Of each cell and seed the rows of what was run last; earlier ones stay in the table and are not counted."""
    last = frame.group_by("cell", "seed", maintain_order=True).agg(pl.col("key").last())
    return frame.join(last, on=["cell", "seed", "key"], how="semi", maintain_order="left")
