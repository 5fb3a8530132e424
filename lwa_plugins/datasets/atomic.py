"""RecBole's atomic files: tab-separated, with a typed header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from lwa_core import DataError, Source, setting
from lwa_plugins.datasets._blocks import existing_file
from lwa_plugins.datasets._items import read_atomic_items, read_typed_header, unique_items
from lwa_plugins.datasets._reading import Layout, read_events

COLUMNS = {"user": "user_id", "item": "item_id", "rating": "rating", "timestamp": "timestamp"}


@attrs.frozen
class Atomic:
    """Reads `NAME.inter`, and titles and categories from the `NAME.item` beside it where there is one.

    Columns are found by RecBole's names: `user_id` and `item_id`, and where they exist `rating` and `timestamp`; of the
    items `item_id`, the first column that is called like a title or name, and the first that is called like a class,
    genre or category. Without timestamps the order of the file counts.
    """

    path: str = setting(help="the .inter file, or the folder with just one", path=True)

    def files(self) -> Sequence[Path]:
        inter = self._inter()
        item = inter.with_suffix(".item")
        return (inter, item) if item.is_file() else (inter,)

    def read(self) -> Source:
        inter, *rest = self.files()
        line, fields = read_typed_header(inter)
        missing = [name for name in ("user_id", "item_id") if name not in fields]
        if missing:
            message = f"has no column {' and no column '.join(map(repr, missing))}, just {', '.join(fields)}"
            raise DataError(message, file=inter, line=line)
        keep = {name: field for name, field in COLUMNS.items() if field in fields}
        events = read_events(inter, Layout(fields, keep, "\t", skip=line))
        items, dropped = unique_items(read_atomic_items(rest[0])) if rest else (None, {})
        return Source(events.lazy(), items, "timestamp" if "timestamp" in keep else "file", dropped)

    def _inter(self) -> Path:
        path = Path(self.path)
        if not path.is_dir():
            return existing_file(path)
        found = sorted(path.glob("*.inter"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            hint = "give the path of the file itself" if found else "RecBole's event files end in .inter"
            raise DataError(f"the folder must hold one .inter file, and holds {names}", file=path, hint=hint)
        return found[0]
