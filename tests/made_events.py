"""Small sources and how prepared data looks to a person."""

import polars as pl
from hypothesis import strategies as st

from lwa_core.data import Source


def source_of(rows, columns=("user", "item", "timestamp"), kinds=(), **more):
    """A source of rows of tuples; the order is that of the file where there are no timestamps."""
    kinds = {"user": pl.String, "item": pl.String, "timestamp": pl.Float64, "rating": pl.Float64, **dict(kinds)}
    frame = pl.LazyFrame(rows, schema={name: kinds[name] for name in columns}, orient="row")
    more.setdefault("order", "timestamp" if "timestamp" in columns else "file")
    return Source(frame, **more)


def spelled(data):
    """Each user's items by id, in order."""
    ids = data.catalogue.ids
    return {
        user: [ids[item] for item in data.items[data.offsets[row] : data.offsets[row + 1]]]
        for row, user in enumerate(data.user_ids)
    }


def pairs(data, examples):
    """(user id, target id) of every example."""
    targets = data.targets(examples)
    return [
        (data.user_ids[user], data.catalogue.ids[target]) for user, target in zip(examples.users, targets, strict=True)
    ]


@st.composite
def event_rows(draw, min_size=0, max_size=60, users=6, items=8):
    """Rows (user, item, timestamp) with distinct timestamps, in any order."""
    count = draw(st.integers(min_size, max_size))
    times = draw(st.permutations(range(count)))
    return [(f"u{draw(st.integers(0, users))}", f"i{draw(st.integers(0, items))}", float(time)) for time in times]
