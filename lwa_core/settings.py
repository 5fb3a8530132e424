"""Settings are attrs fields: declare one with `setting()`, read a TOML table into the class with `structure()`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

NOTHING: Any = attrs.NOTHING


@attrs.frozen
class About:
    """What a field says of itself besides its type and default."""

    help: str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] | None = None
    names: str | None = None
    path: bool = False

    def objection(self, value: Any) -> str | None:
        """Why `value` is not allowed, or None. Of a list, every member must be."""
        if isinstance(value, (list, tuple)):
            return next((said for member in value if (said := self.objection(member))), None)
        if self.choices is not None and value not in self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}, not {value!r}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if value != value or value in (float("inf"), float("-inf")):
            return f"must be a finite number, not {value}"
        if self.minimum is not None and value < self.minimum:
            return f"must be at least {self.minimum:g}, not {value:g}"
        if self.maximum is not None and value > self.maximum:
            return f"must be at most {self.maximum:g}, not {value:g}"
        if self.above is not None and value <= self.above:
            return f"must be above {self.above:g}, not {value:g}"
        return None


def setting(
    default: Any = NOTHING,
    *,
    help: str,
    unit: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    names: str | None = None,
    path: bool = False,
) -> Any:
    """Declare one setting of a component: an attrs field that documents and checks itself.

    Args:
        default: Its value where a recipe says nothing; without one the setting is required.
        help: One line for `lwa plugins show` and the JSON Schema.
        unit: What a number counts, for example "ms".
        minimum, maximum: Inclusive bounds of a number (or of every number of a list).
        above: Exclusive lower bound.
        choices: The allowed values.
        names: The value must be the name of an entry of that section of the recipe, for example `"score"`.
        path: The value is a path; a relative one counts from the folder of the recipe.
    """
    about = About(help, unit, minimum, maximum, above, tuple(choices) if choices is not None else None, names, path)

    def check(instance: Any, attribute: Any, value: Any) -> None:
        if value is not None and (objection := about.objection(value)):
            raise ValueError(f"{attribute.name} {objection}")

    return attrs.field(default=default, validator=check, kw_only=True, metadata={"about": about})
