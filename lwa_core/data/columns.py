"""The names by which columns of interactions are known, so that a missing one can be offered or found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

USUAL: dict[str, tuple[str, ...]] = {
    "user": (
        "user",
        "userid",
        "uid",
        "u",
        "reviewerid",
        "customerid",
        "customer",
        "visitorid",
        "memberid",
        "sessionid",
    ),
    "item": ("item", "itemid", "iid", "i", "movieid", "productid", "product", "asin", "parentasin", "articleid", "sku"),
    "timestamp": ("timestamp", "time", "ts", "datetime", "date", "unixreviewtime", "eventtime", "createdat"),
    "rating": ("rating", "score", "stars", "overall", "value"),
}
"""Role -> names, bare of case and signs, the likeliest first."""


def usual_name(role: str, present: Sequence[Any]) -> str | None:
    """Which of the columns that are there is of this role, by its name; None where no name says so."""
    bare = {_bare(name): name for name in reversed([name for name in present if isinstance(name, str)])}
    return next((bare[name] for name in USUAL.get(role, ()) if name in bare), None)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
