"""What polars raises, as errors in words: also its panics, which are no `Exception`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lwa_core.errors import DataError


@contextmanager
def polars_faults(message: str, *, file: str | Path | None = None, hint: str | None = None) -> Iterator[None]:
    """Turn what polars raises inside into a DataError.

    A panic is a bug of polars that damaged or strange data met; it is a `BaseException`, passes every `except
    Exception`, and would end the program like Ctrl-C.

    Args:
        message: What could not be done; what polars says follows in one line.
        file: The file that was read.
        hint: What to do.
    """
    import polars as pl

    try:
        yield
    except pl.exceptions.PanicException as error:  # its words are about the inside of polars
        raise DataError(f"{message}: polars gave up on it", file=file, hint=hint) from error
    except (pl.exceptions.PolarsError, UnicodeEncodeError) as error:
        said = " ".join(str(error).split())[:300]
        raise DataError(f"{message}: {said}" if said else message, file=file, hint=hint) from error
