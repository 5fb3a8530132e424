"""What can go wrong, and the exit code of each class of error.

Every error a user can cause is an `LwaError`: the command line prints it without a traceback and exits with its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs


@attrs.frozen
class Problem:
    """One thing wrong in a recipe.

    `path` says where, as keys and list indices from the top of the TOML document, for example `("score", 0, "use")`.
    With `at_key` the caret points at the key, else at its value. `lwa_core.recipe.locate` turns it into line and
    column.
    """

    code: str
    message: str
    path: tuple[str | int, ...] = ()
    hint: str | None = None
    at_key: bool = False
    # Filled in by `locate`; 1-based. A problem of the command line (`--set`) has no line, but an origin.
    file: str | None = None
    line: int | None = None
    column: int | None = None
    width: int = 1
    source: str | None = None
    severity: str = "error"


class LwaError(Exception):
    """Base of everything a user can cause or mend. `hint` says what to do about it."""

    exit_code = 1
    code = "error"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  = {self.hint}" if self.hint else self.message


def error_text(error: BaseException) -> str:
    """An error of somebody else's code in one line; also one that fails when it is to say what it is."""
    try:
        text = " ".join(str(error).split())
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = "it cannot say what is wrong"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class RecipeError(LwaError):
    """A recipe is wrong; `problems` holds all that is wrong in it."""

    exit_code = 3
    code = "recipe"

    def __init__(self, message: str, problems: Sequence[Problem] = (), hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.problems = tuple(problems)


class PluginError(LwaError):
    """A plugin is broken, missing, blocked, or misbehaves; the message names plugin, distribution and version."""

    exit_code = 4
    code = "plugin"


class DataError(LwaError):
    """Data cannot be read or does not do for the job. `file` and `line` say where, when it is one place."""

    exit_code = 5
    code = "data"

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, hint: str | None = None
    ) -> None:
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + message, hint)
        self.file = file
        self.line = line


class ModelError(LwaError):
    """A model cannot be loaded, layered, cut or quantised."""

    exit_code = 6
    code = "model"


class StoreError(LwaError):
    """Results cannot be written or read: no space, no permission, damaged."""

    exit_code = 7
    code = "store"


class NeedsError(LwaError):
    """The machine or the environment lacks something that a component needs."""

    exit_code = 8
    code = "needs"


class StageError(LwaError):
    """A stage of a run failed; what was finished before it is stored and the same command goes on from there."""

    exit_code = 9
    code = "stage"


class GateError(LwaError):
    """What was measured does not keep to what it is held against: a profile of a device."""

    exit_code = 10
    code = "gate"
