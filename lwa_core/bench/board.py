"""From cells to a leaderboard: every scorer and selector over all cells, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.means import mean_estimate

TREATED = ("repaired", "healed")
"""What may follow a cut."""


@attrs.frozen
class OverCells:
    """A mean over cells with its 95 % interval, which only many cells give."""

    mean: float
    low: float | None
    high: float | None


@attrs.frozen
class Row:
    """One line of the leaderboard.

    Args:
        name: What the benchmark calls it.
        kind: `scorer`, `selector` or `expectation`.
        place: In the order of regret, from 1; entries of the same regret share the better one.
        tied: The entries that chose the same layers as this one in every cell.
        regret: Mean over the depths of loss above the cross-fitted best subset, in nats, over the cells.
        behind: Its regret less that of the entry with the lowest, cell by cell; None for that one and for chance.
        gain: Mean over the depths of loss below the expected random subset, in nats, over the cells.
        gains: The mean gain of each name's cells, in nats.
        wins: In how many cells the interval of the gain lies above zero.
        losses: In how many it lies below zero.
        cells: How many cells there are.
        passes: Mean cost in forward passes over the calibration examples.
        cpu_seconds: Mean, on one thread.
        stability: Mean rank correlation between halves of the samples; None for selectors and single rows.
        leave_one_out: Mean rank correlation with leave-one-out.
        shapley: Mean rank correlation with the exact Shapley values.
        kept_quality: Share of the teacher's quality, mean over the depths; None where it is not a ranking.
        cut: Share of the teacher's quality (NDCG@10, or what the task measures) after the removal, for each share of
            removed layers.
        repaired: The same after the repair; None where nothing was repaired.
        healed: The same after the healing budget; None where nothing was healed.
        planted: Kind of planted layer -> in how many of the cells it came last.
        plantings: Kind of planted layer -> in how many of the cells there was one.
        controls: How many cells had controls.
        untrained_wins: In how many controls the gain on an untrained model had an interval above zero.
    """

    name: str
    kind: str
    place: int
    tied: tuple[str, ...]
    regret: OverCells
    behind: OverCells | None
    gain: OverCells
    gains: Mapping[str, float]
    wins: int
    losses: int
    cells: int
    passes: float | None
    cpu_seconds: float | None
    stability: float | None
    leave_one_out: float | None
    shapley: float | None
    kept_quality: float | None
    cut: tuple[float, ...]
    repaired: tuple[float, ...] | None
    healed: tuple[float, ...] | None
    planted: Mapping[str, int]
    plantings: Mapping[str, int]
    controls: int
    untrained_wins: int


def leaderboard(cells: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows by rising regret, the expected random subset among them.

    The unit of the intervals is the name of a cell: three seeds of one data set do not count as three data sets.
    """
    names = [entry["name"] for entry in cells[0]["entries"]]
    rows = [_row(name, [(cell, _entry(cell, name)) for cell in cells]) for name in names]
    ordered = sorted([*rows, _random(cells)], key=lambda row: row.regret.mean)
    regrets = [row.regret.mean for row in ordered]
    return [
        attrs.evolve(row, place=1 + _lower(regrets, row.regret.mean), **_beside(row, ordered, cells)) for row in ordered
    ]


def _lower(regrets: Sequence[float], own: float) -> int:
    """How many regrets are lower beyond rounding."""
    return sum(other < own and not np.isclose(other, own, rtol=1e-9, atol=1e-12) for other in regrets)


def _beside(row: Row, ordered: Sequence[Row], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a row stands to the others: who chose the same, and how far it is behind the first entry."""
    entries = [other.name for other in ordered if other.kind != "expectation"]
    if row.kind == "expectation":
        return {}
    mine = [_entry(cell, row.name) for cell in cells]
    tied = [
        name
        for name in entries
        if name != row.name
        and all(own["kept"] == _entry(cell, name)["kept"] for own, cell in zip(mine, cells, strict=True))
    ]
    if row.name == entries[0]:
        return {"tied": tuple(tied)}
    first = [_entry(cell, entries[0])["regret"]["mean"] for cell in cells]
    lost = [own["regret"]["mean"] - best for own, best in zip(mine, first, strict=True)]
    return {"tied": tuple(tied), "behind": _over_cells(cells, lost)}


def _entry(cell: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(entry for entry in cell["entries"] if entry["name"] == name)
    return found


def _row(name: str, made: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Row:
    cells, entries = [cell for cell, _ in made], [entry for _, entry in made]
    gains = [entry["gain"]["mean"] for entry in entries]
    controlled = [entry for entry in entries if "planted" in entry]
    agrees = [entry["agrees"] for entry in entries if entry["agrees"]]
    planted: dict[str, list[int]] = {}
    for entry in controlled:
        for kind, place in entry["planted"].items():
            planted.setdefault(kind, []).append(place)
    steps = {name: [[step.get(name) for step in entry["healed"]] for entry in entries] for name in TREATED}
    return Row(
        name=name,
        kind=entries[0]["kind"],
        place=0,
        tied=(),
        behind=None,
        regret=_over_cells(cells, [entry["regret"]["mean"] for entry in entries]),
        gain=_over_cells(cells, gains),
        gains={name: float(np.mean(values)) for name, values in _by_name(cells, gains).items()},
        wins=sum(_above(entry["gain"]) for entry in entries),
        losses=sum(_below(entry["gain"]) for entry in entries),
        cells=len(entries),
        passes=_mean([entry["passes"] for entry in entries]),
        cpu_seconds=_mean([entry["cpu_seconds"] for entry in entries]),
        stability=_mean([entry.get("stability") for entry in entries]),
        leave_one_out=_mean([told["leave-one-out"] for told in agrees]),
        shapley=_mean([told["shapley"] for told in agrees]),
        kept_quality=_mean([entry.get("kept_quality") for entry in entries]),
        cut=_shares(cells, [[step["cut"] for step in entry["healed"]] for entry in entries]),
        **{name: _shares(cells, rows) if _all_known(rows) else None for name, rows in steps.items()},
        planted={kind: places.count(1) for kind, places in planted.items()},
        plantings={kind: len(places) for kind, places in planted.items()},
        controls=len(controlled),
        untrained_wins=sum(_above(entry["untrained_gain"]) for entry in controlled),
    )


def _random(cells: Sequence[Mapping[str, Any]]) -> Row:
    """The expected random subset: no choice at all, known exactly from the table."""
    return Row(
        name="random subset (expected)",
        kind="expectation",
        place=0,
        tied=(),
        behind=None,
        regret=_over_cells(cells, [cell["random"]["regret"]["mean"] for cell in cells]),
        gain=OverCells(0.0, 0.0, 0.0),
        gains={},
        wins=0,
        losses=0,
        cells=len(cells),
        passes=0.0,
        cpu_seconds=0.0,
        stability=None,
        leave_one_out=None,
        shapley=None,
        kept_quality=_mean([cell["random"].get("kept") for cell in cells]),
        cut=(),
        repaired=None,
        healed=None,
        planted={},
        plantings={},
        controls=0,
        untrained_wins=0,
    )


def _above(gain: Mapping[str, float | None]) -> bool:
    """Whether there is an interval, and it lies above zero."""
    return gain["low"] is not None and gain["low"] > 0


def _below(gain: Mapping[str, float | None]) -> bool:
    return gain["high"] is not None and gain["high"] < 0


def _over_cells(cells: Sequence[Mapping[str, Any]], values: Sequence[float]) -> OverCells:
    """Mean over the names, each the mean of its seeds, with its interval; of one name, over its seeds."""
    groups = _by_name(cells, values)
    units = [float(np.mean(group)) for group in groups.values()] if len(groups) > 1 else list(values)
    found = mean_estimate(np.asarray(units))
    return OverCells(found.mean, found.low, found.high)


def _by_name(cells: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for cell, value in zip(cells, values, strict=True):
        groups.setdefault(cell["cell"], []).append(value)
    return groups


def _shares(cells: Sequence[Mapping[str, Any]], values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    teachers = np.array([cell["teacher"][cell.get("metric", "ndcg@10")] for cell in cells])
    table: NDArray[np.float64] = np.asarray(values) / teachers[:, None]
    return tuple(float(value) for value in table.mean(axis=0))


def _all_known(rows: Sequence[Sequence[float | None]]) -> bool:
    return all(value is not None for row in rows for value in row)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
