"""MovieLens as published: 100K (`u.data`), 1M and 10M (`ratings.dat`), and the newer ones (`ratings.csv`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from lwa_core import DataError, Source, setting
from lwa_plugins.datasets._blocks import existing_file, first_line
from lwa_plugins.datasets._items import read_movies, unique_items
from lwa_plugins.datasets._reading import Layout, read_events

FIELDS = ("user", "item", "rating", "timestamp")
KEEP = dict(zip(FIELDS, FIELDS, strict=True))
RATINGS = {
    "ratings.dat": Layout(FIELDS, KEEP, "::", encoding="latin-1"),
    "u.data": Layout(FIELDS, KEEP, "\t"),
    "ratings.csv": Layout(FIELDS, KEEP, ",", quoted=True, skip=1),
}
MOVIES = {"ratings.dat": "movies.dat", "u.data": "u.item", "ratings.csv": "movies.csv"}
CSV_HEADER = "userId,movieId,rating,timestamp"


@attrs.frozen
class MovieLens:
    """Reads a folder of any MovieLens release: ratings and timestamps, and titles and genres where their file is there.

    The data comes from grouplens.org and may not be passed on; this plugin only reads what you fetched yourself.
    """

    path: str = setting(help="the folder with ratings.dat, u.data or ratings.csv", path=True)

    def files(self) -> Sequence[Path]:
        ratings = self._ratings()
        movies = ratings.with_name(MOVIES[ratings.name])
        return (ratings, movies) if movies.is_file() else (ratings,)

    def read(self) -> Source:
        ratings, *movies = self.files()
        if ratings.name == "ratings.csv" and (header := first_line(ratings)) != (1, CSV_HEADER):
            hint = f"MovieLens writes {CSV_HEADER}; the dataset `table` reads other files"
            raise DataError(f"the header is {header[1]!r}", file=ratings, line=header[0], hint=hint)
        events = read_events(ratings, RATINGS[ratings.name])
        items, dropped = unique_items(read_movies(movies[0])) if movies else (None, {})
        return Source(events.lazy(), items, "timestamp", dropped)

    def _ratings(self) -> Path:
        folder = Path(self.path)
        if not folder.is_dir():
            existing_file(folder, hint="give the unpacked folder of a MovieLens release")
            raise DataError("is a file", file=folder, hint="give the folder that it lies in")
        found = [folder / name for name in RATINGS if (folder / name).is_file()]
        if len(found) != 1:
            names = " and ".join(file.name for file in found)
            message = f"holds {names}, and just one can be meant" if found else f"holds none of {', '.join(RATINGS)}"
            raise DataError(message, file=folder, hint="give the unpacked folder of one MovieLens release")
        return found[0]
