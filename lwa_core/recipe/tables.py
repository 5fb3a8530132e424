"""Which tables a recipe has, by its task, and what each holds: the core's own settings, or components of one kind."""

from __future__ import annotations

import attrs

from lwa_core.data.sections import Filter, Split
from lwa_core.modeling.probing.sections import Calibration
from lwa_core.recipe.profiles import Profile
from lwa_core.recommendation.sections import Evaluate
from lwa_core.text.sections import EvaluateText, Model, Texts


@attrs.frozen
class Table:
    """One table of a recipe, or a list of tables of one name.

    Args:
        name: As in the file.
        holds: The attrs class of the core's own settings, or the kind of component that it uses; `Profile` for those of
            devices.
        several: It is a list, written `[[name]]`.
        required: A recipe without it is wrong.
        rests_on: The table without which it says nothing.
    """

    name: str
    holds: type | str
    several: bool = False
    required: bool = False
    rests_on: str | None = None

    @property
    def kind(self) -> str | None:
        """The kind of its components; None where it holds the core's own settings."""
        return self.holds if isinstance(self.holds, str) else None

    @property
    def header(self) -> str:
        """As it is written."""
        return f"[[{self.name}]]" if self.several else f"[{self.name}]"


_LAYERS = (
    Table("score", "scorer", several=True),
    Table("calibration", Calibration),
    Table("select", "selector"),
    Table("compress", "compressor", several=True, rests_on="select"),
)

TASKS: dict[str, tuple[Table, ...]] = {
    "recommendation": (
        Table("data", "dataset", required=True),
        Table("filter", Filter),
        Table("split", Split),
        Table("recommender", "recommender", required=True),
        *_LAYERS,
        Table("export", "exporter", several=True),
        Table("evaluate", Evaluate),
        Table("profile", Profile, several=True),
    ),
    "text": (
        Table("texts", Texts, required=True),
        Table("model", Model, required=True),
        *_LAYERS,
        Table("evaluate", EvaluateText),
    ),
}
"""Task -> the tables of its recipes, in the order of the flow."""
