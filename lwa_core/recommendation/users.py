"""The users of the data that a model was made with: their histories, by their ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from lwa_core.data import PreparedData
from lwa_core.data.ids import shown, spell_id
from lwa_core.data.saving import load_prepared
from lwa_core.errors import DataError, LwaError, StoreError
from lwa_core.types import History

HISTORIES = "data"
"""Where a run folder holds the prepared data."""


class KnownUsers:
    """Users and all that they did, the newest events included. The data is read when somebody is asked for."""

    def __init__(self, read: Callable[[], PreparedData]) -> None:
        self._read = read

    @classmethod
    def of_run(cls, folder: Path) -> KnownUsers:
        """Those of a run folder."""
        return cls(partial(_read_run, folder))

    @cached_property
    def data(self) -> PreparedData:
        """The prepared data. Raises LwaError where it cannot be read."""
        return self._read()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.data.user_ids)}

    def history(self, user: Any, ids: Sequence[str]) -> History:
        """All items of a user, oldest first, with their times where the model looks at them.

        Args:
            user: An id, by the rule of `lwa_core.data.spell_id`.
            ids: Of the items that the model ranks: those that the histories are to be of.

        Raises:
            LwaError: It is no id, or the data has no such user, or is of other items.
        """
        try:
            name = spell_id(user)
        except DataError as error:
            raise LwaError(f"user: {error.message}", error.hint) from error
        row = self._rows.get(name)
        if row is None:
            said = f"the data has no user {shown(name)}"
            raise LwaError(said, f"it has {len(self._rows)}; anyone else is asked for by a history")
        if self.data.catalogue.ids != ids:
            raise LwaError("the histories of this run are not of the items that the model ranks", "run it again")
        return self.data.history_of(row)


def _read_run(folder: Path) -> PreparedData:
    try:
        return load_prepared(folder / HISTORIES)
    except StoreError as error:
        said = f"{folder} holds no histories of users that can be read: {error.message}"
        raise LwaError(said, "run the recipe again, or give a history instead of a user") from error
