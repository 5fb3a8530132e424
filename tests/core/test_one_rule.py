"""One rule for ids, times, k and seeds, whichever way they come: file, frame, request, command line."""

import datetime
import io
import json
import math
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_recipe import TEXT, write_recipe

import lwa_core
from lwa_core import DataError, LwaError
from lwa_core.cli import main
from lwa_core.data import prepare
from lwa_core.data.frames import source_from_frame
from lwa_core.data.sections import Filter, Split
from lwa_core.recipe.reader import check_recipe
from lwa_plugins.datasets.table import Table

REFUSED = "refused"
BLANK = "left out, and counted"

WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=6)
IDS = st.one_of(
    TEXTS,
    WHOLE,
    st.floats(),
    st.integers(-(2**53), 2**53).map(float),
    st.booleans(),
    st.none(),
    st.dictionaries(st.sampled_from("ab"), WHOLE, max_size=1),
)
"""What JSON can say, which is what every way can bring."""


def rule(value):
    """The text of an id, in plain words of the documentation."""
    if value is None:
        return BLANK
    if isinstance(value, str):
        return value.strip(" \t\r\n\f\v\ufeff\u00a0") or BLANK
    if isinstance(value, bool) or not isinstance(value, int | float):
        return REFUSED
    if isinstance(value, float):
        if math.isnan(value):
            return BLANK
        if not math.isfinite(value) or value != int(value) or abs(value) > 2**53:
            return REFUSED
        value = int(value)
    return str(value)


def of_data(source):
    """The one id of a source all of whose events are of one item."""
    try:
        data = prepare(source, Filter(duplicates="all"), Split(), 0)
    except DataError as error:
        return BLANK if "no events" in error.message or "none of" in error.message else REFUSED
    return data.catalogue.ids[0]


USERS = [f"u{user}" for user in range(3) for _ in range(4)]


def frames(value):
    """A frame of every kind that can hold the value."""
    yield {"user": USERS, "item": [value] * len(USERS)}
    yield pd.DataFrame({"user": USERS, "item": pd.Series([value] * len(USERS), dtype=object)})
    yield pl.DataFrame({"user": USERS, "item": pl.Series([value] * len(USERS), strict=True)})
    yield pa.table({"user": USERS, "item": pa.array([value] * len(USERS))})


@settings(max_examples=60, deadline=None)
@given(IDS)
@example(2.0)
@example(1e22)
@example(" 7 ")
@example("")
def test_ids_of_frames_and_json_lines_follow_one_rule(tmp_path_factory, value):
    expected = rule(value)

    for frame in frames(value):
        found = None
        try:
            source = source_from_frame(frame)
        except DataError as error:
            found = BLANK if "no " in error.message and value is None else REFUSED
        assert (found or of_data(source)) in (expected, *([REFUSED] if expected is BLANK else [])), type(frame)

    file = tmp_path_factory.mktemp("ids") / "e.jsonl"
    file.write_text("".join(json.dumps({"user": user, "item": value}) + "\n" for user in USERS), encoding="utf-8")
    try:
        found = of_data(Table(path=str(file), user="user", item="item").read())
    except DataError:
        found = REFUSED
    if isinstance(value, float) and not math.isfinite(value):
        assert found in (REFUSED, BLANK)  # JSON has no such number
    else:
        assert expected == found or (expected is BLANK and found == REFUSED)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, and the folder of it."""
    table = {"user": [f"u{u}" for u in range(20) for _ in range(5)], "item": [f"i{i % 9}" for i in range(100)]}
    small = {"layers": 1, "width": 8, "max_length": 6, "epochs": 1, "batch": 32}
    ranker = lwa_core.fit(pl.DataFrame(table), **small)
    folder = tmp_path_factory.mktemp("model") / "m"
    ranker.save(folder)
    return ranker, folder


@settings(max_examples=60, deadline=None)
@given(value=IDS)
def test_ids_of_requests_follow_the_same_rule(saved, value):
    """All of them are unknown here, and come back as they were read; nothing that is no id is passed over."""
    ranker, folder = saved
    expected = rule(value)
    expected = REFUSED if expected is BLANK and value != "" and not isinstance(value, str) else expected

    def told(ask):
        try:
            return (ask() or (BLANK,))[0] or BLANK
        except LwaError:
            return REFUSED

    assert expected == told(lambda: ranker.recommend([value]).unknown)
    assert expected == told(lambda: ranker.recommend(["i1"], exclude=[value], allow=["i2", value]) and (expected,))
    if isinstance(value, float) and not math.isfinite(value):
        return
    done = CliRunner().invoke(main, ["recommend", str(folder), "--history", json.dumps([value]), "--json"])
    assert expected == (REFUSED if done.exit_code else (json.loads(done.stdout)["unknown"] or [BLANK])[0] or BLANK)
    lines = io.BytesIO(json.dumps({"history": [value]}).encode() + b"\n")
    done = CliRunner().invoke(main, ["recommend", str(folder), "--input", "-"], input=lines.getvalue())
    answer = json.loads(done.stdout)
    assert expected == (REFUSED if "error" in answer else (answer["unknown"] or [BLANK])[0] or BLANK)


OTHER_TYPES = [
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (Decimal("12"), "12"),
    (Decimal("1.5"), REFUSED),
    (np.int8(3), "3"),
    (np.uint64(2**63 + 5), str(2**63 + 5)),
    (np.float32(4), "4"),
    (np.bool_(True), REFUSED),
    (b"x", REFUSED),
    (datetime.date(2026, 1, 1), REFUSED),
    (datetime.datetime(2026, 1, 1), REFUSED),
    (datetime.timedelta(1), REFUSED),
    (1j, REFUSED),
]


@pytest.mark.parametrize(("value", "expected"), OTHER_TYPES, ids=str)
def test_ids_of_other_types_are_the_same_in_frames_and_requests(saved, value, expected):
    ranker, _ = saved
    try:
        asked = ranker.recommend([value]).unknown[0]
    except LwaError:
        asked = REFUSED
    try:
        frame = pd.DataFrame({"user": USERS, "item": pd.Series([value] * len(USERS), dtype=object)})
        told = of_data(source_from_frame(frame))
    except DataError:
        told = REFUSED

    assert (expected, expected) == (asked, told)


# Times


MOMENT = 1_700_000_000
SAME = [
    (MOMENT, "s"),
    (MOMENT * 10**3, "ms"),
    (MOMENT * 10**6, "us"),
    (MOMENT * 10**9, "ns"),
    (float(MOMENT), "s"),
    ("2023-11-14T22:13:20+00:00", "auto"),
    ("2023-11-14 22:13:20", "auto"),
    (datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc), "auto"),
    (np.datetime64("2023-11-14T22:13:20"), "auto"),
]
NO_TIMES = [True, None, float("nan"), "soon", [1], b"1", 10**30, -(10**15)]


@pytest.fixture(scope="module")
def timed():
    table = {
        "user": [f"u{u}" for u in range(20) for _ in range(5)],
        "item": [f"i{i % 9}" for i in range(100)],
        "time": [MOMENT + 60 * i for i in range(100)],
    }
    small = {"layers": 1, "width": 8, "max_length": 6, "epochs": 1, "batch": 32, "times": True}
    return lwa_core.fit(pl.DataFrame(table), timestamp="time", **small)


@pytest.mark.parametrize(("moment", "unit"), SAME, ids=str)
def test_one_moment_is_one_in_files_frames_and_requests(timed, tmp_path, moment, unit):
    rows = [moment] * len(USERS)
    items = [f"i{place % 4}" for place in range(len(USERS))]
    sources = [
        source_from_frame(pd.DataFrame({"user": USERS, "item": items, "t": rows}), timestamp="t", time_unit=unit)
    ]
    if isinstance(moment, str | int | float):
        for name, text in (
            (
                "e.jsonl",
                "".join(
                    json.dumps({"user": u, "item": i, "t": moment}) + "\n" for u, i in zip(USERS, items, strict=True)
                ),
            ),
            ("e.csv", "user,item,t\n" + "".join(f"{u},{i},{moment}\n" for u, i in zip(USERS, items, strict=True))),
        ):
            (tmp_path / name).write_text(text, encoding="utf-8")
            sources.append(Table(path=str(tmp_path / name), timestamp="t", time_unit=unit).read())

    for source in sources:
        assert {MOMENT * 1000} == {*prepare(source, Filter(), Split(), 0).times.tolist()}
    expected = timed.recommend(["i1"], times=[MOMENT], time_unit="s")
    assert expected == timed.recommend(["i1"], times=[moment], time_unit=unit)


@pytest.mark.parametrize("wrong", NO_TIMES, ids=str)
def test_what_is_no_time_is_refused_in_data_and_requests(timed, wrong):
    with pytest.raises(LwaError):
        timed.recommend(["i1"], times=[wrong])
    frame = {"user": USERS, "item": [f"i{place % 4}" for place in range(len(USERS))], "t": [wrong] * len(USERS)}
    with pytest.raises(LwaError):
        prepare(source_from_frame(frame, timestamp="t", time_unit="s"), Filter(), Split(), 0)


# k and seeds


NUMBERS = [0, 1, 7, -1, 10**6, 2**31, 2**63, 10**30, True, None, 1.0, 2.5, math.nan, "3", "x", [1], np.int64(5)]


@pytest.mark.parametrize("k", NUMBERS, ids=str)
def test_k_is_a_whole_number_above_zero_everywhere(saved, k):
    ranker, folder = saved
    right = isinstance(k, int | np.integer) and not isinstance(k, bool) and k > 0

    if right:
        assert min(int(k), 9) >= len(ranker.recommend([], k=k).items) > 0
    else:
        with pytest.raises(LwaError, match="k "):
            ranker.recommend([], k=k)
    done = CliRunner().invoke(main, ["recommend", str(folder), "--history", "", "-k", str(k), "--json"])
    assert done.exit_code == (0 if right or k == "3" else 2)
    if not isinstance(k, np.integer | list | float | str) and k is not None:
        said = check_recipe_of(f"[evaluate]\nk = [{str(k).lower()}]\n", ("requests=0",))
        assert right == (said == []) or k > 2**63 - 1


def check_recipe_of(extra, drop=()):
    import tempfile
    from pathlib import Path

    text = TEXT[: TEXT.index("[evaluate]")] if extra.startswith("[evaluate]") else TEXT
    text = text + extra if extra.startswith("[") else extra + text
    with tempfile.TemporaryDirectory() as folder:
        _, problems = check_recipe(write_recipe(Path(folder), text), ())
    return [problem.message for problem in problems]


@pytest.mark.parametrize("seed", NUMBERS, ids=str)
def test_seeds_are_the_same_in_python_and_recipes(seed):
    table = {"user": [f"u{u}" for u in range(6) for _ in range(4)], "item": [f"i{i % 5}" for i in range(24)]}
    small = {"layers": 1, "width": 8, "max_length": 6, "epochs": 0}

    try:
        lwa_core.fit(table, seed=seed, **small)
        said = None
    except LwaError as error:
        said = error.message
    assert said is None or "seed" in said
    if isinstance(seed, int | float) and not isinstance(seed, np.generic):
        written = {True: "true"}.get(seed is True, str(seed))
        assert (said is None) == (check_recipe_of(f"seed = {written}\n") == [])
