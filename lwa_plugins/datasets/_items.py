"""Item tables: titles and categories from the files that come with public data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwa_core import BadJsonError, DataError, parse_json
from lwa_plugins.datasets._blocks import existing_file, first_line
from lwa_plugins.datasets._plain_text import CHECK
from lwa_plugins.datasets._reading import Layout, read_delimited

if TYPE_CHECKING:
    import polars

TWICE = "item rows that repeat an item"
NAMELESS = "item rows without an item"

NAME = r"""'[^']*'|"[^"]*\""""
"""A name in quotes, with them."""
QUOTED = rf"^(?:{NAME})(?:\s*,\s*(?:{NAME}))*$"


def unique_items(table: polars.DataFrame) -> tuple[polars.DataFrame, dict[str, int]]:
    """The first row of every item, and how many rows that left out, by rule."""
    import polars as pl

    named = table.filter(pl.col("item").is_not_null() & (pl.col("item") != ""))
    unique = named.unique("item", keep="first", maintain_order=True)
    unique = unique.with_columns(pl.col("title").str.strip_chars()) if "title" in unique.columns else unique
    counts = {NAMELESS: table.height - named.height, TWICE: named.height - unique.height}
    return unique, {rule: count for rule, count in counts.items() if count}


def read_typed_header(path: Path) -> tuple[int, list[str]]:
    """Line and field names of a RecBole file's header, `user_id:token<TAB>item_id:token…`. Raises DataError."""
    line, text = first_line(path)
    header = text.split("\t")
    if any(":" not in field for field in header):
        hint = "an atomic file begins with, for example, `user_id:token<TAB>item_id:token<TAB>timestamp:float`"
        raise DataError("the header does not give name:type for every field", file=path, line=line, hint=hint)
    names = [field.rpartition(":")[0] for field in header]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        hint = "rename one of the two; which one is meant cannot be told"
        raise DataError(f"the header names {twice!r} twice", file=path, line=line, hint=hint)
    return line, names


def read_atomic_items(path: Path) -> polars.DataFrame:
    """Items of a RecBole `.item` file: `item_id`, the first column with a title, the first with categories."""
    line, fields = read_typed_header(path)
    if "item_id" not in fields:
        raise DataError(f"has no column 'item_id', just {', '.join(fields)}", file=path, line=line)
    keep = {"item": "item_id"}
    for name, words in (("title", ("title", "name")), ("categories", ("class", "genre", "categor"))):
        found = next((field for word in words for field in fields if word in field.lower()), None)
        if found is not None:
            keep[name] = found
    table = read_delimited(path, Layout(fields, keep, "\t", skip=line))
    if "categories" in keep:
        table = table.with_columns(names_of(table["categories"]))
    return table


def names_of(texts: polars.Series) -> polars.Series:
    """Names that stand in one field: in quotes between commas, else between bars, else between blanks.

    RecBole's own files have blanks; those made of Amazon's metadata quote names that hold blanks, and others have bars.
    """
    import polars as pl

    filled = texts.drop_nulls().str.strip_chars()
    filled = filled.filter(filled != "")
    if len(filled) and bool(filled.str.contains(QUOTED).all()):
        found = texts.fill_null("").str.extract_all(NAME)
        return found.list.eval(pl.element().str.slice(1, pl.element().str.len_chars() - 2)).alias(texts.name)
    separator = "|" if bool(filled.str.contains("|", literal=True).any()) else " "
    return pl.select(split_categories(texts.name, separator, texts)).to_series()


def read_movies(path: Path) -> polars.DataFrame:
    """Items of MovieLens: `movies.dat` (`::`, latin-1), `u.item` (`|`, latin-1) or `movies.csv` (header, UTF-8)."""
    import polars as pl

    keep = {"item": "item", "title": "title"}
    if path.name == "u.item":
        fields = ["item", "title", "date", "video", "url", *U_ITEM_GENRES]
        table = read_delimited(path, Layout(fields, {**keep, **{g: g for g in U_ITEM_GENRES}}, "|", encoding="latin-1"))
        genres = pl.concat_list(pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in U_ITEM_GENRES)
        return table.select("item", "title", categories=genres.list.drop_nulls())
    keep["categories"] = "genres"
    fields = ["item", "title", "genres"]
    if path.suffix == ".csv":
        table = read_delimited(path, Layout(fields, keep, ",", quoted=True, skip=1))
    else:
        table = read_delimited(path, Layout(fields, keep, "::", encoding="latin-1"))
    without = pl.col("categories") == "(no genres listed)"
    return table.with_columns(pl.when(~without).then("categories")).with_columns(split_categories("categories", "|"))


def read_json_items(path: Path) -> polars.DataFrame:
    """Items of one JSON object: `{"id": {"title": …, "categories": […]}}`, or `{"id": "title"}`."""
    import polars as pl

    rows = []
    for item, value in read_json_object(path).items():
        described = {"title": value} if isinstance(value, str) else value
        if not isinstance(described, dict):
            raise DataError(f'item {item!r} holds neither a title nor {{"title": …}}', file=path)
        title, categories = described.get("title"), described.get("categories")
        if not isinstance(title, str | None) or not _texts(categories):
            hint = "a title is text, categories are a list of texts"
            raise DataError(f"item {item!r} has a title or categories of another kind", file=path, hint=hint)
        rows.append((item, title, categories))
    schema: dict[str, Any] = {"item": pl.String, "title": pl.String, "categories": pl.List(pl.String)}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.drop([name for name in ("title", "categories") if bool(table[name].is_null().all())])


def read_json_object(path: Path) -> dict[str, Any]:
    """A file that is one JSON object. Raises DataError with the line."""
    try:
        value = parse_json(existing_file(path).read_bytes(), unique=True)
    except BadJsonError as error:
        raise DataError(error.message, file=path, line=error.line, hint=error.hint or CHECK) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path) from error
    if not isinstance(value, dict):
        raise DataError('must be one JSON object, {"id": …}', file=path, line=1)
    return value


def split_categories(name: str, separator: str, texts: polars.Series | None = None) -> polars.Expr:
    """A text column, or `texts` instead, split into the list of its parts; empty text has none."""
    import polars as pl

    column = pl.col(name) if texts is None else pl.lit(texts)
    parts = column.fill_null("").str.split(separator)
    return parts.list.eval(pl.element().filter(pl.element() != "")).alias(name)


def _texts(value: Sequence[Any] | None) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(text, str) for text in value))


# In the order of the flags at the end of a line of u.item (ml-100k's README).
U_ITEM_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
