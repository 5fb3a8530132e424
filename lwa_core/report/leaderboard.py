"""The leaderboard of a benchmark, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lwa_core.report.tables import Table, markdown_table
from lwa_core.results.figures import MINUS, metric_name, percent
from lwa_core.results.words import UNCONTROLLED


def boards(result: Mapping[str, Any]) -> list[Table]:
    """A line an entry, the lowest regret first.

    What was chosen; what it cost and how sure it is; the controls; what is left of the quality.
    """
    made = [_choices(result), _cells(result), _gains(result), _costs(result), _controls(result), _quality(result)]
    return [board for board in made if board.rows]


def _choices(result: Mapping[str, Any]) -> Table:
    board = result["leaderboard"]
    places = [row["place"] for row in board]
    rows = [
        [
            _name(row),
            f"{row['place']}{'=' if places.count(row['place']) > 1 else ''}",
            _estimate(row["regret"]),
            "" if row["behind"] is None else _estimate(row["behind"]),
            "0" if row["kind"] == "expectation" else _estimate(row["gain"]),
        ]
        for row in board
    ]
    title = f"{result['bench']}, {len(result['cells'])} cells: loss in nats above the best set, and below a random one"
    return Table(("", "place", "regret", "behind the first", "gain over random"), rows, title=title, note=_ties(board))


def _ties(board: Sequence[Mapping[str, Any]]) -> str:
    """Which entries chose the same everywhere, and what an order of places is worth."""
    groups = {tuple(sorted([row["name"], *row["tied"]])) for row in board if row["tied"]}
    said = [f"the same layers in every cell: {', '.join(group)}" for group in sorted(groups)]
    later = [row for row in board if row["behind"] is not None]
    unsure = [row["name"] for row in later if row["behind"]["low"] is None or row["behind"]["low"] <= 0]
    if unsure:
        said.append(f"not shown to be behind the first: {', '.join(unsure)}")
    return "\n".join(said)


def _cells(result: Mapping[str, Any]) -> Table:
    """How many pairs of entries each cell tells apart; a cell that tells none apart says nothing of any of them."""
    rows = [
        [
            f"{cell['cell']} seed {cell['seed']}",
            f"{cell['examples']['test']:,}",
            f"{cell['apart']} of {cell['pairs']}" + ("" if cell["apart"] else ": it tells nothing apart"),
        ]
        for cell in result["cells"]
        if "pairs" in cell
    ]
    title = "pairs of entries that a cell tells apart (95 %, for all its pairs together)"
    return Table(("", "test examples", "pairs told apart"), rows, title=title)


def _gains(result: Mapping[str, Any]) -> Table:
    compared = _compared(result)
    names = list(compared[0]["gains"])
    rows = [[_name(row), *(_number(row["gains"][name], 3) for name in names)] for row in compared]
    title = "gain over random by cell, mean over its seeds"
    return Table(("", *names), rows if len(names) > 1 else (), title=title)


def _costs(result: Mapping[str, Any]) -> Table:
    figures = (("passes", 1), ("cpu_seconds", 1), ("stability", 2), ("leave_one_out", 2), ("shapley", 2))
    rows = [
        [
            _name(row),
            *(f"{row[key]}/{row['cells']}" for key in ("wins", "losses")),
            *(_number(row[key], digits) for key, digits in figures),
        ]
        for row in _compared(result)
    ]
    columns = ("", "better", "worse", "passes", "CPU s", "stability", "ρ LOO", "ρ Shapley")
    title = (
        "cells with a gain or a loss shown, cost, and rank correlations: of halves, with leave-one-out, with Shapley"
    )
    return Table(columns, rows, title=title)


def _controls(result: Mapping[str, Any]) -> Table:
    scorers = [row for row in result["leaderboard"] if row["kind"] == "scorer" and row["controls"]]
    kinds = list(dict.fromkeys(kind for row in scorers for kind in row["planted"]))
    rows = [
        [
            _name(row),
            *(f"{row['planted'][kind]}/{row['plantings'][kind]}" for kind in kinds),
            f"{row['untrained_wins']}/{row['controls']}",
        ]
        for row in scorers
    ]
    columns = ("", *(f"{kind} last" for kind in kinds), "untrained better")
    return Table(columns, rows, title="controls: planted layers put last, and gains shown on untrained models")


def _quality(result: Mapping[str, Any]) -> Table:
    shares = [f"{round(100 * share)} %" for share in result["measure"]["healed"]]
    board = result["leaderboard"]
    ranked = any(row.get("kept_quality") is not None for row in board)
    columns = ["", *(["as cut, all sizes"] if ranked else []), *(f"cut by {share}" for share in shares)]
    for table, treated in (("repair", "repaired"), ("heal", "healed")):
        if result.get(table) is not None:
            columns += [f"cut by {share}, {treated}" for share in shares]
    rows = [
        [
            _name(row),
            *([percent(row["kept_quality"])] if ranked else []),
            *(percent(value) for name in ("cut", "repaired", "healed") for value in row.get(name) or ()),
        ]
        for row in (board if ranked else _compared(result))
    ]
    if ranked:
        rows = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
        best = [cell["best"]["kept"] for cell in result["cells"]]
        rows.append(["best set (cross-fitted)", percent(sum(best) / len(best)), *[""] * (len(columns) - 2)])
    note = "" if result["heal"] is None else f"healed: {UNCONTROLLED}"
    return Table(columns, rows, title=f"share of the teacher's {_metrics(result)}, mean over the cells", note=note)


def _metrics(result: Mapping[str, Any]) -> str:
    """What is kept of NDCG@10; of other metrics, the ratio to the teacher's."""
    names = list(dict.fromkeys(cell.get("metric", "ndcg@10") for cell in result["cells"]))
    return (
        f"{' or '.join(map(metric_name, names))} kept" if names == ["ndcg@10"] else " or ".join(map(metric_name, names))
    )


def _compared(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows without that of chance."""
    return [row for row in result["leaderboard"] if row["kind"] != "expectation"]


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['name']} (set)" if row["kind"] == "selector" else str(row["name"])


def markdown(result: Mapping[str, Any]) -> str:
    """The boards as Markdown."""
    return "\n".join(
        f"{board.title}\n\n{markdown_table(board)}\n" + (f"\n{board.note}\n" if board.note else "")
        for board in boards(result)
    )


def _estimate(value: Mapping[str, float | None]) -> str:
    interval = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value['mean']:.3f}{interval}".replace("-", MINUS)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}".replace("-", MINUS)
