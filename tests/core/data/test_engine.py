from __future__ import annotations

import polars as pl
import pytest

from lwa_core.data import polars_faults
from lwa_core.errors import DataError


def test_a_panic_is_an_error_of_the_data():
    assert not issubclass(pl.exceptions.PanicException, Exception)  # why `except Exception` does not do
    with pytest.raises(DataError) as caught, polars_faults("cannot be read", file="a.parquet", hint="fetch it again"):
        raise pl.exceptions.PanicException("called `Option::unwrap()` on a `None` value")

    assert "a.parquet: cannot be read: polars gave up on it\n  = fetch it again" == str(caught.value)


def test_what_polars_says_is_on_one_line_and_cut():
    with pytest.raises(DataError) as caught, polars_faults("cannot be read"):
        raise pl.exceptions.ComputeError("first\nsecond " + "x" * 1000)

    assert caught.value.message.startswith("cannot be read: first second xxx")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, SystemExit])
def test_all_else_passes(kind):
    with pytest.raises(kind), polars_faults("cannot be read"):
        raise kind
