"""The leaderboard: means over cells, and intervals that know which cells belong together."""

import numpy as np
import pytest

from lwa_core.bench.board import leaderboard
from lwa_core.report.leaderboard import boards, markdown


def entry(name, regret, gain, half, kind="scorer", **more):
    return {
        "name": name,
        "component": name,
        "kind": kind,
        "kept": [[0]],
        "passes": 2.0,
        "cpu_seconds": 0.5,
        "stability": 0.8,
        "regret": {"mean": regret, "low": regret, "high": regret},
        "gain": {"mean": gain, "low": gain - half, "high": gain + half},
        "agrees": {"leave-one-out": 0.5, "shapley": 0.25} if kind == "scorer" else None,
        "healed": [{"kept": [0], "cut": 0.05, "healed": 0.09}],
        **more,
    }


def cell(name, seed, *entries):
    return {
        "cell": name,
        "seed": seed,
        "depth": 4,
        "teacher": {"ndcg@10": 0.1, "loss": 5.0},
        "random": {"regret": {"mean": 0.3}},
        "entries": list(entries),
    }


def test_rows_come_by_rising_regret_with_chance_among_them():
    rows = leaderboard([cell("a", 0, entry("bad", 0.5, -0.2, 0.1), entry("good", 0.1, 0.2, 0.1))])

    assert ["good", "random subset (expected)", "bad"] == [row.name for row in rows]
    assert [(1, 0), (0, 0), (0, 1)] == [(row.wins, row.losses) for row in rows]


def test_a_gain_counts_only_with_its_whole_interval():
    (row, _) = leaderboard([cell("a", seed, entry("s", 0.1, 0.2, half)) for seed, half in ((0, 0.1), (1, 0.3))])

    assert (1, 0, 2) == (row.wins, row.losses, row.cells)


def test_every_name_weighs_the_same_however_many_seeds_it_has():
    cells = [cell("a", 0, entry("s", 0.0, 0.0, 1)), *(cell("b", seed, entry("s", 1.0, 0.0, 1)) for seed in range(3))]

    row = next(row for row in leaderboard(cells) if row.name == "s")

    assert row.regret.mean == pytest.approx(0.5)


def test_seeds_of_one_data_set_are_no_data_sets_of_their_own():
    """Two names that differ, many seeds that do not: the interval must not shrink with the seeds."""
    cells = [
        cell(name, seed, entry("s", value, 0.0, 1)) for name, value in (("a", 0.0), ("b", 1.0)) for seed in range(9)
    ]

    row = next(row for row in leaderboard(cells) if row.name == "s")

    assert (0.0, 1.0) == (row.regret.low, row.regret.high)


def test_the_interval_covers_as_it_should_where_all_cells_are_independent():
    """One seed a name, normal values: 95 % of the intervals hold the mean, a little less with few names."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        values = rng.normal(0.3, 0.1, size=20)
        cells = [cell(f"c{i}", 0, entry("s", float(v), 0.0, 1)) for i, v in enumerate(values)]
        row = next(row for row in leaderboard(cells) if row.name == "s")
        held += row.regret.low <= 0.3 <= row.regret.high

    assert 85 <= held <= 100


def test_controls_are_counted_where_there_were_any():
    planted = {"identity": 1, "duplicate": 2, "noise": 1}
    with_controls = entry("s", 0.1, 0.2, 0.1, planted=planted, untrained_gain={"mean": 0.0, "low": -1.0, "high": 1.0})

    row = leaderboard([cell("a", 0, with_controls), cell("b", 0, entry("s", 0.1, 0.2, 0.1))])[0]

    assert ({"identity": 1, "duplicate": 0, "noise": 1}, 1, 0) == (row.planted, row.controls, row.untrained_wins)


def test_the_markdown_has_a_line_an_entry():
    import attrs

    cells = [cell("a", 0, entry("s", 0.1, 0.2, 0.1), entry("t", 0.2, 0.1, 0.05, kind="selector"))]
    result = {
        "bench": "b",
        "cells": cells,
        "heal": {"use": "distill"},
        "measure": {"healed": [0.5]},
        "leaderboard": [attrs.asdict(row) for row in leaderboard(cells)],
    }

    assert ["s", "t (set)", "random subset (expected)"] == [row[0] for row in boards(result)[0].rows]
    assert ["50.0 %", "90.0 %"] == list(boards(result)[-1].rows[0][1:])
    assert "| s | 0.100 (0.100 to 0.100) | 0.200 (0.200 to 0.200) |" in markdown(result)
