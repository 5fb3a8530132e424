import attrs
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from made_events import event_rows, source_of

from lwa_core.data import load_prepared, prepare, save_prepared
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError, StoreError

ITEMS = pl.DataFrame({"item": ["i1", "i2"], "title": ["Ä \u2028 title", ""], "categories": [["x", "y"], []]})


def same(left, right):
    """Equal in every field, and arrays of one type."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if attrs.has(type(left)):
        names = [field.name for field in attrs.fields(type(left))]
        return type(left) is type(right) and all(same(getattr(left, n), getattr(right, n)) for n in names)
    return type(left) is type(right) and left == right


@given(event_rows(min_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_saving_and_loading_changes_nothing(tmp_path, rows):
    for items in (None, ITEMS):
        try:
            data = prepare(source_of(rows, items=items), Filter(), Split(), 0)
        except DataError:
            return
        save_prepared(data, tmp_path)

        assert same(data, load_prepared(tmp_path))


@pytest.mark.parametrize("name", ["arrays.safetensors", "data.json"])
def test_damage_is_a_store_error(tmp_path, name):
    rows = [(f"u{user}", f"i{item}", float(item)) for user in range(4) for item in range(5)]
    save_prepared(prepare(source_of(rows), Filter(), Split(), 0), tmp_path / "new")
    (tmp_path / "new" / name).write_bytes(b"{}")

    with pytest.raises(StoreError):
        load_prepared(tmp_path / "new")
    with pytest.raises(StoreError):
        load_prepared(tmp_path / "absent")
