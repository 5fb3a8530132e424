import json

import numpy as np
import polars as pl
import pytest
from heard import Heard
from hypothesis import given
from hypothesis import strategies as st
from made_events import event_rows, pairs, source_of, spelled

from lwa_core.data import prepare
from lwa_core.data.dataset import test_digest as digest_of_test
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError

FIVE = [(user, item, float(time)) for user in "ab" for time, item in enumerate("pqrst")]


def try_prepare(rows, **split):
    """Prepared data, or None where the rows do not do for a split."""
    try:
        return prepare(source_of(rows), Filter(), Split(**split), 0)
    except DataError:
        return None


def steps_of(data):
    return {step.name: (step.rows, step.users, step.items) for step in data.steps}


def test_leave_one_out_holds_the_last_two_back():
    data = prepare(source_of(FIVE), Filter(), Split(calibration=0.5), 0)

    assert {"a": list("pqrst"), "b": list("pqrst")} == spelled(data)
    assert [("a", "t"), ("b", "t")] == pairs(data, data.test)
    assert [("a", "s"), ("b", "s")] == sorted(pairs(data, data.validation) + pairs(data, data.calibration))
    assert [["p", "q", "r"]] * 2 == [[data.catalogue.ids[i] for i in part] for part in data.training_sequences()]
    assert [list("pqrs")] * 2 == [[data.catalogue.ids[i] for i in part] for part in data.histories(data.test)]


def test_users_with_fewer_than_three_events_only_train():
    rows = [*FIVE, ("c", "p", 0.0), ("c", "q", 1.0), ("d", "r", 0.0)]

    data = prepare(source_of(rows), Filter(), Split(), 0)

    assert [3, 3, 2, 1] == [len(part) for part in data.training_sequences()]
    assert {"a", "b"} == {user for user, _ in pairs(data, data.test)}
    assert 2 == data.facts["split"]["users_too_short"]


def test_arrays_have_the_declared_types():
    data = prepare(source_of(FIVE), Filter(), Split(), 0)

    assert np.int32 == data.items.dtype
    arrays = [data.offsets, data.train_ends]
    arrays += [a for use in (data.validation, data.calibration, data.test) for a in (use.users, use.positions)]
    assert {np.dtype(np.int64)} == {array.dtype for array in arrays}


def test_facts_are_json():
    data = prepare(source_of(FIVE, notes=("made up",)), Filter(), Split(), 0)

    assert data.facts == json.loads(json.dumps(data.facts))
    assert "made up" == data.facts["notes"][0]


def test_ids_are_ordered_by_value_where_all_are_numbers_else_by_text():
    numbers = [(str(user), str(item), float(item)) for user in (10, 9) for item in (100, 20, 3)]
    texts = [(f"u{user}", f"i{item}", time) for user, item, time in numbers]

    as_numbers = prepare(source_of(numbers), Filter(), Split(), 0)
    as_texts = prepare(source_of(texts), Filter(), Split(), 0)

    assert (("9", "10"), ("3", "20", "100")) == (as_numbers.user_ids, as_numbers.catalogue.ids)
    assert (("u10", "u9"), ("i100", "i20", "i3")) == (as_texts.user_ids, as_texts.catalogue.ids)


def test_ties_keep_the_order_of_the_file_and_are_counted():
    rows = [("a", "p", 1.0), ("a", "z", 2.0), ("a", "q", 2.0), ("b", "p", 1.0), ("b", "q", 2.0), ("b", "z", 3.0)]

    data = prepare(source_of(rows), Filter(), Split(), 0)

    assert {"a": ["p", "z", "q"], "b": ["p", "q", "z"]} == spelled(data)
    order = {"by": "timestamp", "ties": "order of the file", "test_targets_in_ties": 1}
    assert {**order, "neighbours_in_ties": 0.25, "neighbours_ascending": 0.0} == data.facts["order"]


def test_without_timestamps_the_order_of_the_file_counts():
    rows = [("b", "q"), ("a", "z"), ("b", "p"), ("a", "q"), ("a", "p"), ("b", "z")]

    data = prepare(source_of(rows, ("user", "item")), Filter(), Split(), 0)

    assert {"a": ["z", "q", "p"], "b": ["q", "p", "z"]} == spelled(data)
    order = {"by": "file", "ties": "order of the file", "test_targets_in_ties": None}
    assert {**order, "neighbours_in_ties": None, "neighbours_ascending": 0.25} == data.facts["order"]


@pytest.mark.parametrize(("which", "expected"), [("first", "pqrst"), ("last", "qrstp"), ("all", "pqrstp")])
def test_duplicates_are_judged_in_time_not_in_the_file(which, expected):
    rows = [("a", "p", 9.0), *FIVE]

    data = prepare(source_of(rows), Filter(duplicates=which), Split(), 0)

    assert expected == "".join(spelled(data)["a"])


def test_repeated_targets_are_counted_and_warned_of():
    heard = Heard()

    data = prepare(source_of([("a", "p", 9.0), *FIVE]), Filter(duplicates="all"), Split(), 0, heard)

    assert 1 == data.facts["repeated_test_targets"]
    assert ["repeated-targets"] == [code for code, _ in heard.warnings]


def test_incomplete_rows_are_counted_by_rule_and_reported():
    bad = [(None, "p", 1.0), ("", "p", 1.0), ("a", None, 1.0), ("a", "p", float("nan")), ("a", "p", float("inf"))]
    heard = Heard()

    data = prepare(source_of([*FIVE, *bad], dropped={"lines of comment": 2}), Filter(), Split(), 0, heard)

    expected = {
        "lines of comment": 2,
        "rows without a user": 2,
        "rows without an item": 1,
        "rows without a timestamp": 2,
    }
    assert expected == data.facts["dropped"]
    assert [
        (
            "rows-dropped",
            "left out: 2 lines of comment, 2 rows without a user, 1 rows without an item, 2 rows without a timestamp",
        )
    ] == heard.warnings
    assert (15, 10) == (data.steps[0].rows, data.steps[1].rows)


def test_nothing_to_report_is_not_reported():
    heard = Heard()

    prepare(source_of(FIVE), Filter(), Split(), 0, heard)

    assert [] == heard.warnings


def test_every_step_accounts_for_rows_users_and_items():
    columns = ("user", "item", "timestamp", "rating")
    rated = [(*row, 5.0) for row in FIVE]
    rows = [*rated, ("a", "p", 7.0, 4.0), ("c", "p", 0.0, 4.0), ("c", "x", 1.0, 1.0), (None, "p", 0.0, 3.0)]

    data = prepare(source_of(rows, columns), Filter(min_rating=2, user_core=2), Split(), 0)

    expected = {
        "read": (14, 3, 6),
        "valid": (13, 3, 6),
        "min_rating": (12, 3, 5),
        "duplicates": (11, 3, 5),
        "k-core": (10, 2, 5),
    }
    assert expected == steps_of(data)


def test_a_row_without_a_rating_goes_only_where_ratings_are_compared():
    columns = ("user", "item", "timestamp", "rating")
    rows = [(*row, 5.0) for row in FIVE] + [("c", "p", 1.0, None), ("c", "q", 1.0, float("nan"))]

    kept = prepare(source_of(rows, columns), Filter(), Split(), 0)
    compared = prepare(source_of(rows, columns), Filter(min_rating=1), Split(), 0)

    assert (12, {}, 2) == (len(kept.items), kept.facts["dropped"], kept.facts["unrated_events"])
    assert (10, {"rows without a rating": 2}) == (len(compared.items), compared.facts["dropped"])


def test_times_of_a_clock_that_passes_a_round_number_keep_one_unit():
    start = 10**11 - 20
    rows = [(user, item, start + 10 * (5 - place)) for user in "ab" for place, item in enumerate("pqrst")]

    data = prepare(source_of(rows), Filter(), Split(), 0)

    assert {"a": list("tsrqp"), "b": list("tsrqp")} == spelled(data)
    assert "ms" == data.facts["time_unit"]
    assert ["times are milliseconds, from 1973-03-03T09:46:39.990+00:00 to 1973-03-03T09:46:40.030+00:00"] == list(
        data.facts["notes"]
    )


def test_times_of_two_units_are_refused_unless_the_unit_is_said():
    rows = [("a", "p", 1_600_000_002.0), ("a", "q", 1_600_000_001_000.0), ("a", "r", 1_600_000_003.0), *FIVE[5:]]

    with pytest.raises(DataError, match="of two units: 1600000001000 counts milliseconds, and 1600000002 looks"):
        prepare(source_of(rows), Filter(), Split(), 0)
    data = prepare(source_of(rows, time_unit="ms"), Filter(), Split(), 0)

    assert ["p", "r", "q"] == spelled(data)["a"]


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_is_found_by_the_largest_time(unit, scale):
    start = 1_600_000_000
    rows = [(user, item, (start + place) * scale) for user in "ab" for place, item in enumerate("pqrst")]

    found, said = (prepare(source_of(rows, time_unit=each), Filter(), Split(), 0) for each in ("auto", unit))

    assert unit == found.facts["time_unit"]
    assert [1000 * (start + place) for place in range(5)] * 2 == found.times.tolist() == said.times.tolist()


def test_times_finer_than_a_millisecond_order_the_events():
    start = 1_600_000_000_000_000_000
    rows = [(user, item, start + 100 * (5 - place)) for user in "ab" for place, item in enumerate("pqrst")]

    data = prepare(source_of(rows, kinds={"timestamp": pl.Int64}), Filter(), Split(), 0)

    assert {"a": list("tsrqp"), "b": list("tsrqp")} == spelled(data)
    assert "finer than a millisecond" in data.facts["notes"][1]


def test_times_out_of_the_calendar_are_refused():
    rows = [(user, item, time - 10**11) for user, item, time in FIVE]

    with pytest.raises(DataError, match=r"is no second of the years 1 to 9999"):
        prepare(source_of(rows), Filter(), Split(), 0)


@pytest.mark.parametrize("first", [1e308, -1e308, 1e30, -1e20])
def test_times_that_no_64_bits_of_milliseconds_hold_are_refused(first):
    rows = [(user, item, first if place == 0 else time) for place, (user, item, time) in enumerate(FIVE)]

    with pytest.raises(DataError, match="of the years 1 to 9999"):
        prepare(source_of(rows), Filter(), Split(), 0)


def test_blanks_around_ids_make_no_second_item():
    rows = [
        (f"{user}{' ' * (place % 2)}", f"\t{item}" if place == 3 else item, time)
        for place, (user, item, time) in enumerate(FIVE)
    ]
    heard = Heard()

    data = prepare(source_of(rows), Filter(), Split(), 0, heard)

    assert spelled(prepare(source_of(FIVE), Filter(), Split(), 0)) == spelled(data)
    said = [
        "5 rows had blanks around the user, which are left out",
        "1 rows had blanks around the item, which are left out",
    ]
    assert said == [message for code, message in heard.warnings if code == "blanks-around-ids"]


def test_events_that_may_mean_dislike_are_said():
    rows = [(user, item, time, float(place % 4 - 1)) for place, (user, item, time) in enumerate(FIVE)]
    columns = ("user", "item", "timestamp", "rating")
    heard = Heard()

    prepare(source_of(rows, columns), Filter(), Split(), 0, heard)

    assert ["6 events are rated 0 or below and count like all others; filter.min_rating leaves them out"] == [
        message for code, message in heard.warnings if code == "rated-below-zero"
    ]


def test_item_facts_are_aligned_with_the_catalogue():
    items = pl.DataFrame(
        {"item": ["t", "nobody", "p"], "title": ["Tea", "No", None], "categories": [["hot", "wet"], [], None]}
    )

    catalogue = prepare(source_of(FIVE, items=items), Filter(), Split(), 0).catalogue

    assert tuple("pqrst") == catalogue.ids
    assert ("", "", "", "", "Tea") == catalogue.titles
    assert ((), (), (), (), ("hot", "wet")) == catalogue.categories


def test_what_the_source_does_not_know_is_none():
    catalogue = prepare(source_of(FIVE), Filter(), Split(), 0).catalogue

    assert (None, None) == (catalogue.titles, catalogue.categories)


def test_share_of_test_targets_that_training_never_saw():
    rows = [*FIVE, ("c", "p", 0.0), ("c", "q", 1.0), ("c", "t", 2.0), ("d", "t", 0.0)]

    data = prepare(source_of(rows), Filter(), Split(), 0)

    assert 0.0 == data.facts["unseen_test_targets"]
    assert 1.0 == prepare(source_of(FIVE), Filter(), Split(), 0).facts["unseen_test_targets"]


def test_sequence_lengths_are_quantiles():
    rows = [(f"u{length}", f"i{place}", float(place)) for length in range(3, 8) for place in range(length)]

    lengths = prepare(source_of(rows), Filter(), Split(), 0).facts["sequence_lengths"]

    assert (3.0, 5.0, 7.0) == (lengths["min"], lengths["median"], lengths["max"])


def test_calibration_borrows_its_share_from_validation_by_the_seed():
    rows = [(f"u{user}", f"i{item}", float(item)) for user in range(100) for item in range(3)]

    draws = [prepare(source_of(rows), Filter(), Split(calibration=0.2), seed) for seed in (0, 0, 1)]

    assert [(80, 20, 100)] * 3 == [(len(d.validation), len(d.calibration), len(d.test)) for d in draws]
    first, again, other = (pairs(data, data.calibration) for data in draws)
    assert first == again
    assert first != other


def test_split_by_time_cuts_all_users_at_the_same_moments():
    """Ten events, one a second, in turn by two users; the last two seconds are the test window."""
    rows = [("ab"[time % 2], f"i{time}", float(time)) for time in range(20)]

    data = prepare(source_of(rows), Filter(), Split(by="time", validation=0.2, test=0.2), 0)

    assert [("a", "i16"), ("b", "i17")] == pairs(data, data.test)
    assert [("a", "i12"), ("b", "i13")] == sorted(pairs(data, data.validation) + pairs(data, data.calibration))
    assert 12 == data.facts["counts"]["training_events"]
    assert [[f"i{t}" for t in range(0, 16, 2)], [f"i{t}" for t in range(1, 16, 2)]] == [
        [data.catalogue.ids[item] for item in history] for history in data.histories(data.test)
    ]
    assert "1970-01-01T00:00:12+00:00" == data.facts["split"]["validation_from"]
    assert "1970-01-01T00:00:16+00:00" == data.facts["split"]["test_from"]


def test_split_by_time_counts_users_without_history():
    rows = [("ab"[time % 2], f"i{time}", float(time)) for time in range(20)]
    rows += [("late", "i1", 18.0), ("later", "i2", 13.0)]

    split = prepare(source_of(rows), Filter(), Split(by="time", validation=0.2, test=0.2), 0).facts["split"]

    assert (1, 1) == (split["validation_users_without_history"], split["test_users_without_history"])


def test_split_by_time_orders_by_time_whatever_the_source_says():
    rows = [("ab"[time % 2], f"i{time}", float(time)) for time in reversed(range(20))]

    data = prepare(source_of(rows, order="file"), Filter(), Split(by="time", validation=0.2, test=0.2), 0)

    assert "timestamp" == data.facts["order"]["by"]
    assert [("a", "i16"), ("b", "i17")] == pairs(data, data.test)


def test_equal_timestamps_fall_on_one_side_of_a_cut():
    rows = [(user, f"i{time}{user}", float(time // 4)) for time in range(40) for user in "abc"]

    data = prepare(source_of(rows), Filter(), Split(by="time"), 0)

    assert (96, "1970-01-01T00:00:08+00:00", "1970-01-01T00:00:09+00:00") == (
        data.facts["counts"]["training_events"],
        data.facts["split"]["validation_from"],
        data.facts["split"]["test_from"],
    )
    assert 3 == data.facts["order"]["test_targets_in_ties"]


@given(event_rows(min_size=10), st.sampled_from(["leave-one-out", "time"]))
def test_no_two_uses_share_a_target_and_training_ends_before_all_of_them(rows, by):
    data = try_prepare(rows, by=by)
    if data is None:
        return
    time_of = {}
    for user, item, time in sorted(rows, key=lambda row: row[2]):
        time_of.setdefault((user, item), time)
    uses = [pairs(data, examples) for examples in (data.validation, data.calibration, data.test)]
    targets = [target for use in uses for target in use]
    trained = {
        (user, item)
        for row, (user, items) in enumerate(spelled(data).items())
        for item in items[: data.train_ends[row] - data.offsets[row]]
    }

    assert len(targets) == len(set(targets))
    assert trained.isdisjoint(targets)
    for user, item in targets:
        limit = time_of[user, item]
        others = {pair for pair in trained if by == "time" or pair[0] == user}
        assert all(time_of[pair] < limit for pair in others)
    for examples in (data.validation, data.calibration, data.test):
        for history, pair in zip(data.histories(examples), pairs(data, examples), strict=True):
            earlier = {(pair[0], data.catalogue.ids[item]) for item in history}
            assert {p for p, time in time_of.items() if p[0] == pair[0] and time < time_of[pair]} == earlier


@given(event_rows(min_size=8), st.randoms(use_true_random=False), st.sampled_from(["leave-one-out", "time"]))
def test_the_order_of_rows_does_not_matter_when_timestamps_are_distinct(rows, random, by):
    data = try_prepare(rows, by=by)
    shuffled = try_prepare(random.sample(rows, len(rows)), by=by)

    assert (data is None) == (shuffled is None)
    if data is not None:
        assert digest_of_test(data) == digest_of_test(shuffled)
        assert spelled(data) == spelled(shuffled)
        assert data.catalogue.ids == shuffled.catalogue.ids
        assert data.train_ends.tolist() == shuffled.train_ends.tolist()
        assert pairs(data, data.calibration) == pairs(shuffled, shuffled.calibration)
        assert (data.steps, data.facts) == (shuffled.steps, shuffled.facts)


@pytest.mark.parametrize(
    ("rows", "columns", "filter", "split", "message"),
    [
        ([], ("user", "item"), {}, {}, "holds no events"),
        ([(None, "p")], ("user", "item"), {}, {}, "no valid event is left: 1 rows without a user"),
        (FIVE, ("user", "item", "timestamp"), {"min_rating": 3}, {}, "has no ratings"),
        ([("a", "p", 1.0)], ("user", "item", "rating"), {"min_rating": 3}, {}, "no event is rated at least 3"),
        (FIVE, ("user", "item", "timestamp"), {"user_core": 6}, {}, "nothing is left of 10 events"),
        (FIVE[:5], ("user", "item", "timestamp"), {}, {}, "gives 1 validation and 1 test examples"),
        ([("a", "p"), ("b", "q")], ("user", "item"), {}, {}, "gives 0 validation and 0 test examples"),
        ([("a", "p"), ("b", "q")], ("user", "item"), {}, {"by": "time"}, "needs timestamps, and the data has none"),
        (
            [("a", "p", 1.0), ("b", "q", 1.0)],
            ("user", "item", "timestamp"),
            {},
            {"by": "time"},
            "1 distinct timestamps",
        ),
        (FIVE[:5], ("user", "item", "timestamp"), {}, {"by": "time"}, "the split gives 1 validation"),
    ],
)
def test_data_that_does_not_do_is_an_error_with_a_hint(rows, columns, filter, split, message):
    with pytest.raises(DataError, match=message) as caught:
        prepare(source_of(rows, columns), Filter(**filter), Split(**split), 0)

    assert caught.value.hint


def test_a_source_must_have_what_it_promises():
    frame = pl.LazyFrame({"user": ["a"], "thing": ["p"]})
    with pytest.raises(DataError, match="no column 'item', just user, thing"):
        prepare(source_of(FIVE).__class__(frame, order="file"), Filter(), Split(), 0)
    with pytest.raises(DataError, match="no column 'timestamp' to be ordered by"):
        prepare(source_of([("a", "p")], ("user", "item"), order="timestamp"), Filter(), Split(), 0)
    twice = pl.DataFrame({"item": ["p", "p"], "title": ["1", "2"]})
    with pytest.raises(DataError, match="item 'p' is described twice"):
        prepare(source_of(FIVE, items=twice), Filter(), Split(), 0)
    truths = pl.LazyFrame({"user": [True], "item": ["p"]})
    with pytest.raises(DataError, match="column 'user' holds Boolean"):
        prepare(source_of(FIVE).__class__(truths, order="file"), Filter(), Split(), 0)


def test_a_span_of_time_keeps_what_lies_in_it():
    day = 86_400.0
    rows = [(user, item, day * place) for user in "ab" for place, item in enumerate("pqrstuv")]
    span = Filter(after="1970-01-02", before="1970-01-06T00:00:00")

    data = prepare(source_of(rows), span, Split(), 0)

    assert {"a": list("qrst"), "b": list("qrst")} == spelled(data)
    assert (8, 2, 4) == steps_of(data)["span of time"]
    assert "1970-01-02" == data.facts["filter"]["after"]
    with pytest.raises(DataError, match="none of 14 events lies in the span"):
        prepare(source_of(rows), Filter(after="2000-01-01"), Split(), 0)
    with pytest.raises(DataError, match="names a span of time, and the data has no timestamps"):
        prepare(source_of([row[:2] for row in rows], ("user", "item")), span, Split(), 0)


@pytest.mark.parametrize("span", [{"after": "soon"}, {"before": ""}, {"after": "2020-01-01", "before": "2020-01-01"}])
def test_a_span_is_of_dates_and_not_empty(span):
    with pytest.raises(ValueError, match=r"is no date or time|no moment lies"):
        Filter(**span)


def test_a_subset_of_users_is_drawn_with_the_seed():
    rows = [(f"u{user:02d}", item, float(place)) for user in range(40) for place, item in enumerate("pqrst")]

    drawn = [spelled(prepare(source_of(rows), Filter(users=10), Split(), seed)) for seed in (0, 0, 1)]

    assert [10, 10, 10] == [len(users) for users in drawn]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({*drawn[0], *drawn[2]}) > 10
    assert all(list("pqrst") == items for items in drawn[0].values())


def test_the_items_with_the_most_events_stay():
    rows = [(f"u{user}", f"i{item}", float(item)) for user in range(8) for item in range(8) if item <= user]

    data = prepare(source_of(rows), Filter(items=4), Split(), 0)

    assert ("i0", "i1", "i2", "i3") == data.catalogue.ids


GIVEN = ("user", "item", "timestamp", "part")


def given_rows(late=False):
    parts = ["train"] * 3 + ["validation", "test", "test"]
    return [
        (user, item, float(-1 if late and user == "b" and part == "test" else place), part)
        for user in "abc"
        for place, (item, part) in enumerate(zip("pqrstu", parts, strict=True))
    ][::-1]


@pytest.mark.parametrize("columns", [GIVEN, ("user", "item", "part")])
def test_data_that_comes_split_is_used_as_it_is(columns):
    rows = [tuple(value for name, value in zip(GIVEN, row, strict=True) if name in columns) for row in given_rows()]
    if len(columns) == 3:
        rows.reverse()  # without times the order of the file counts

    data = prepare(source_of(rows, columns, kinds={"part": pl.String}), Filter(), Split(), 0)

    assert {(user, "s") for user in "abc"} == {*pairs(data, data.validation), *pairs(data, data.calibration)}
    assert {(user, "t") for user in "abc"} == {*pairs(data, data.test)}
    assert [3, 3, 3] == [len(sequence) for sequence in data.training_sequences()]
    assert ("given", 3) == (data.facts["split"]["by"], data.facts["split"]["events_behind_an_example"])


def test_parts_that_leak_are_refused():
    with pytest.raises(DataError, match="1 users have an event of an earlier part that is later"):
        prepare(source_of(given_rows(late=True), GIVEN, kinds={"part": pl.String}), Filter(), Split(), 0)


def test_parts_have_names_and_one_split():
    source = source_of([(*row[:3], "dev") for row in given_rows()], GIVEN, kinds={"part": pl.String})
    with pytest.raises(DataError, match="an event is in part 'dev'"):
        prepare(source, Filter(), Split(), 0)
    with pytest.raises(DataError, match="would split it anew"):
        prepare(source_of(given_rows(), GIVEN, kinds={"part": pl.String}), Filter(), Split(by="time"), 0)
    with pytest.raises(DataError, match="does not come split"):
        prepare(source_of(FIVE), Filter(), Split(by="given"), 0)


@given(event_rows(min_size=12), st.sampled_from(["leave-one-out", "time"]))
def test_refitting_trains_on_all_but_the_test(rows, by):
    """Each user's events before the test window (or target), whoever was validated on, and no other."""
    before = try_prepare(rows, by=by)
    if before is None:
        return
    after = prepare(source_of(rows), Filter(), Split(by=by), 0, refit=True)

    assert spelled(before) == spelled(after)
    assert pairs(before, before.test) == pairs(after, after.test)
    assert 0 == len(after.validation) == len(after.calibration)
    start = before.facts["split"].get("test_from")
    first = {pair: min(t for u, i, t in rows if (u, i) == pair) for pair in {row[:2] for row in rows}}
    for row, user in enumerate(after.user_ids):
        mine = sorted((t, item) for (u, item), t in first.items() if u == user)
        if by == "time":
            cut = pl.Series([start]).str.to_datetime(time_zone="UTC").dt.timestamp("ms")[0] / 1000
            mine = [item for t, item in mine if t < cut]
        else:
            mine = [item for _, item in (mine[:-1] if len(mine) >= 3 else mine)]
        trained = after.items[after.offsets[row] : after.train_ends[row]]
        assert mine == [after.catalogue.ids[item] for item in trained]


def test_refitting_on_given_parts_trains_on_the_whole_validation_part():
    parts = ["train", "train", "validation", "validation", "test", "test"]
    rows = [
        (user, item, float(place), part)
        for user in "abc"
        for place, (item, part) in enumerate(zip("pqrstu", parts, strict=True))
    ]

    data = prepare(source_of(rows, GIVEN, kinds={"part": pl.String}), Filter(), Split(), 0, refit=True)

    assert [list("pqrs")] * 3 == [[data.catalogue.ids[i] for i in part] for part in data.training_sequences()]
    assert {(user, "t") for user in "abc"} == {*pairs(data, data.test)}
