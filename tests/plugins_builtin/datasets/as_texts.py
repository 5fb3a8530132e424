"""Events as a person reads them: ids as the text that they stand for."""

import polars as pl


def as_texts(source):
    """The events of a source, `user` and `item` as text."""
    return source.events.collect().with_columns(pl.col("user", "item").cast(pl.String))
