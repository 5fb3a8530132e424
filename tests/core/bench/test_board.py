"""The leaderboard: means over cells, and intervals that know which cells belong together."""

import attrs
import numpy as np
import pytest

from lwa_core.bench.board import leaderboard
from lwa_core.report.leaderboard import boards, markdown
from lwa_core.statistics.means import mean_estimate


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


def shown(cells):
    """What the boards show of these cells."""
    rows = [attrs.asdict(row) for row in leaderboard(cells)]
    return {"cells": cells, "heal": {"use": "distill"}, "measure": {"healed": [0.5]}, "leaderboard": rows}


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


def cells_of(values):
    """Cells with these regrets, by name: a list of one value a seed each."""
    return [
        cell(name, seed, entry("s", float(value), 0.0, 1))
        for name, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]


def regret(values):
    return next(row for row in leaderboard(cells_of(values)) if row.name == "s").regret


def test_seeds_of_one_data_set_are_no_data_sets_of_their_own():
    """The interval is over the names' means, however many seeds there are."""
    values = {f"c{i}": [i % 7 / 10, i % 5 / 10 + 0.1, i % 3 / 10] for i in range(64)}

    told = regret(values)

    expected = mean_estimate(np.array([np.mean(seeds) for seeds in values.values()]))
    assert (told.mean, told.low, told.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert told.low is not None


def test_few_data_sets_or_seeds_have_no_interval():
    for values in (
        {"a": [0.1, 0.2, 0.6]},
        {"a": [0.0, 0.2], "b": [1.0], "c": [0.4]},
        {f"c{i}": [0.1 * i] for i in range(63)},
    ):
        told = regret(values)
        assert (None, None) == (told.low, told.high)


def test_the_gain_of_each_data_set_is_told():
    made = [cell("a", 0, entry("s", 0.1, 0.2, 1)), cell("a", 1, entry("s", 0.1, 0.4, 1))]
    made.append(cell("b", 0, entry("s", 0.1, -0.1, 1)))

    (by_name,) = [board for board in boards({"bench": "b", **shown(made)}) if board.title.startswith("gain")]

    assert ("", "a", "b") == tuple(by_name.columns)
    assert [["s", "0.300", "−0.100"]] == [list(row) for row in by_name.rows]


def test_one_cell_gives_no_interval():
    (row, _) = boards({"bench": "b", **shown(cells_of({"a": [0.1]}))})[0].rows

    assert ["s", "1", "0.100", "", "0.000"] == list(row)


def test_controls_are_counted_where_there_were_any():
    planted = {"identity": 1, "duplicate": 2, "noise": 1}
    with_controls = entry("s", 0.1, 0.2, 0.1, planted=planted, untrained_gain={"mean": 0.0, "low": -1.0, "high": 1.0})

    no_identity = {**with_controls, "planted": {"duplicate": 1, "noise": 3}}
    cells = [with_controls, no_identity, entry("s", 0.1, 0.2, 0.1)]

    row = leaderboard([cell(name, 0, made) for name, made in zip("abc", cells, strict=True)])[0]

    assert ({"identity": 1, "duplicate": 1, "noise": 1}, 2, 0) == (row.planted, row.controls, row.untrained_wins)
    assert {"identity": 1, "duplicate": 2, "noise": 2} == row.plantings


def test_the_markdown_has_a_line_an_entry():
    cells = [
        cell("a", seed, entry("s", 0.1, 0.2, 0.1), entry("t", 0.2, 0.1, 0.05, kind="selector")) for seed in range(2)
    ]
    result = {"bench": "b", **shown(cells)}

    assert ["s", "t (set)", "random subset (expected)"] == [row[0] for row in boards(result)[0].rows]
    assert ["50.0 %", "90.0 %"] == list(boards(result)[-1].rows[0][1:])
    assert "| s | 1 | 0.100 |  | 0.200 |" in markdown(result)
    assert "| t (set) | 2 | 0.200 | 0.100 |" in markdown(result)


def test_the_board_of_quality_has_chance_and_the_best_set_beside_what_was_chosen():
    steps = [{"kept": [0], "cut": 0.05, "repaired": 0.08, "healed": 0.09}]
    made = cell("a", 0, entry("s", 0.1, 0.2, 0.1, kept_quality=0.7, healed=steps))
    made |= {"random": {**made["random"], "kept": 0.6}, "best": {"kept": 0.75}}
    result = {"bench": "b", **shown([made]), "repair": {"use": "patch"}}

    board = boards(result)[-1]

    assert ["", "as cut, all sizes", "cut by 50 %", "cut by 50 %, repaired", "cut by 50 %, healed"] == board.columns
    assert ["s", "70.0 %", "50.0 %", "80.0 %", "90.0 %"] == board.rows[0]
    assert ["60.0 %", "75.0 %"] == [row[1] for row in board.rows[1:]]


def test_entries_that_chose_the_same_everywhere_are_tied():
    same = [
        cell("a", seed, entry("s", 0.1 * seed, 0.2, 0.1), entry("t", 0.1 * seed, 0.2, 0.1), other)
        for seed, other in ((1, entry("u", 0.1, 0.2, 0.1)), (2, entry("u", 0.25, 0.2, 0.1, kept=[[1]])))
    ]

    rows = {row.name: row for row in leaderboard(same)}

    assert (("t",), ("s",), ()) == tuple(rows[name].tied for name in "stu")
    assert (1, 1, 3) == tuple(rows[name].place for name in "stu")
    board = boards({"bench": "b", **shown(same)})[0]
    assert ["1=", "1=", "3", "4"] == [row[1] for row in board.rows]
    assert "the same layers in every cell: s, t" in board.note


def test_an_entry_is_behind_the_first_only_where_its_interval_says_so():
    rng = np.random.default_rng(0)
    near, far = rng.normal(0.16, 0.1, 70), rng.normal(0.6, 0.1, 70)
    cells = [
        cell(f"d{n}", 0, entry("s", 0.15, 0, 1), entry("near", one, 0, 1, kept=[[1]]), entry("far", other, 0, 1))
        for n, (one, other) in enumerate(zip(near.tolist(), far.tolist(), strict=True))
    ]

    rows = {row.name: row for row in leaderboard(cells)}
    note = boards({"bench": "b", **shown(cells)})[0].note

    expected = mean_estimate(near - 0.15)
    assert (rows["near"].behind.low, rows["near"].behind.high) == pytest.approx((expected.low, expected.high))
    assert expected.low < 0 < expected.high
    assert rows["s"].behind is None
    assert "not shown to be behind the first: near" in note
    assert "far" not in note.partition("not shown to be behind the first")[2]


def test_a_cell_that_tells_nothing_apart_is_said_to():
    cells = [
        {**made, "examples": {"test": 60}, "pairs": 3, "apart": apart}
        for apart, made in zip((0, 2), cells_of({"a": [0.1], "b": [0.2]}), strict=True)
    ]

    (board,) = [board for board in boards({"bench": "b", **shown(cells)}) if board.title.startswith("pairs")]

    assert [
        ["a seed 0", "60", "0 of 3: it tells nothing apart"],
        ["b seed 0", "60", "2 of 3"],
    ] == [list(row) for row in board.rows]
