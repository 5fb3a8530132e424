"""A recipe: one TOML file that names data, recommender, scorers, selector and compressors -> `Recipe`, or all that is
wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.document import BadDocumentError, parse, paths, read_text
from lwa_core.errors import Problem, RecipeError
from lwa_core.kinds import TomlPath
from lwa_core.plugins import Offer, Registry
from lwa_core.protocols import CombiningScorer
from lwa_core.sections import Calibration, Evaluate, Filter, Split
from lwa_core.settings import setting, unstructure

if TYPE_CHECKING:
    from lwa_core.locate import Locator

SECTIONS: dict[str, type] = {"filter": Filter, "split": Split, "calibration": Calibration, "evaluate": Evaluate}
"""Tables of the core: each may be left out."""

SINGLE = {"data": "dataset", "recommender": "recommender", "select": "selector"}
"""Tables that use one component -> its kind."""

SEVERAL = {"score": "scorer", "compress": "compressor"}
"""Lists of tables that use one component each -> its kind."""

TABLES = ("data", "filter", "split", "recommender", "score", "calibration", "select", "compress", "evaluate")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@attrs.frozen
class Use:
    """One component of a recipe with its settings.

    Args:
        kind: `dataset`, `recommender`, `scorer`, `selector` or `compressor`.
        name: What the recipe calls it: unique among its kind.
        component: What the plugin calls it.
        offer: The component and who provides it.
        settings: JSON-ready, defaults filled in, paths as the recipe writes them.
        instance: The component's class, made with these settings; relative paths count from the recipe's folder.
        path: Where its table is in the TOML document.
    """

    kind: str
    name: str
    component: str
    offer: Offer
    settings: Mapping[str, Any]
    instance: Any
    path: TomlPath

    @property
    def combines(self) -> bool:
        """Whether it is a scorer that works on the scores of others."""
        return isinstance(self.instance, CombiningScorer)

    @property
    def baseline(self) -> bool:
        """Whether it is a scorer that looks at nothing and is there to be beaten."""
        return bool(getattr(self.instance, "baseline", False))


@attrs.frozen
class Head:
    """The keys of a recipe that stand before its tables."""

    name: str = setting(help="what the run is called, and its folder: letters, digits, '.', '_' and '-'")
    seed: int = setting(0, help="every random choice follows from it", minimum=0, maximum=2**32 - 1)
    plugins: tuple[str, ...] = setting((), help="Python files to load as plugins, relative to the recipe")


@attrs.frozen
class Recipe:
    """A recipe without mistakes: every component found, every setting checked, every default filled in."""

    name: str
    seed: int
    file: Path | None
    text: str
    plugins: tuple[str, ...]
    data: Use
    recommender: Use
    scorers: tuple[Use, ...]
    select: Use
    compress: tuple[Use, ...]
    filter: Filter
    split: Split
    calibration: Calibration
    evaluate: Evaluate
    registry: Registry
    overrides: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[Use, ...]:
        """Every component, in the order of the flow."""
        return (self.data, self.recommender, *self.scorers, self.select, *self.compress)

    def resolved(self) -> dict[str, Any]:
        """Every key with its default, ready for JSON and TOML, and under `components` who provides each component.

        A setting that is None is left out: TOML has no null, and leaving it out means the same.
        """
        tables: dict[str, Any] = {"name": self.name, "seed": self.seed, "plugins": list(self.plugins)}
        for table in TABLES:
            if table in SECTIONS:
                tables[table] = _without_none(unstructure(getattr(self, table)))
            elif table in SINGLE:
                use = getattr(self, table)
                tables[table] = {"use": use.component, **_without_none(use.settings)}
            else:
                uses = self.scorers if table == "score" else self.compress
                tables[table] = [
                    {"use": use.component, "name": use.name, **_without_none(use.settings)} for use in uses
                ]
        return {**tables, "components": [_provenance(use) for use in self.uses]}

    def line(self, path: TomlPath) -> int | None:
        """The line of a TOML path or of the innermost table around it; None for what the file does not say."""
        if not any(path[:length] in paths(self.text) for length in range(1, len(path) + 1)):
            return None
        return _locator(self.text).find(path).line


def combined_by(use: Use, scorers: Sequence[Use]) -> tuple[Use, ...]:
    """The scorers that a combining one names in `of`, or all but the baselines; never one that combines."""
    own, named = [scorer for scorer in scorers if not scorer.combines], getattr(use.instance, "of", ())
    return tuple(scorer for scorer in own if (scorer.name in named if named else not scorer.baseline))


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _provenance(use: Use) -> dict[str, Any]:
    provider = use.offer.provider
    facts = {
        "kind": use.kind,
        "name": use.name,
        "component": use.component,
        "component_version": use.offer.component.version,
        "plugin": provider.name,
        "distribution": provider.distribution,
        "version": provider.version,
        "sha256": provider.digest,
    }
    return _without_none(facts)


@lru_cache(maxsize=8)
def _locator(text: str) -> Locator:
    from lwa_core.locate import Locator

    return Locator(text)


def load_recipe(
    file: Path,
    overrides: Sequence[str] = (),
    *,
    block: Collection[str] = (),
    allow_local: bool = True,
) -> Recipe:
    """Read and check a recipe.

    Args:
        file: The TOML file.
        overrides: `"select.keep=4"` each, applied in order under the same checks.
        block: Plugins to leave out.
        allow_local: Whether `plugins = ["./file.py"]` may be loaded.

    Raises:
        RecipeError: With every problem, each at its place in the file.
    """
    recipe, problems = check_recipe(file, overrides, block=block, allow_local=allow_local)
    if recipe is None:
        from lwa_core.locate import render

        raise RecipeError(render(problems), problems)
    return recipe


def check_recipe(
    file: Path,
    overrides: Sequence[str] = (),
    *,
    block: Collection[str] = (),
    allow_local: bool = True,
) -> tuple[Recipe | None, list[Problem]]:
    """Like `load_recipe`, but gives the problems back, placed and in file order."""
    from lwa_core.reader import Reader

    try:
        text = read_text(file)
    except BadDocumentError as error:
        return None, [error.problem]
    try:
        reader = Reader(file, parse(text), block, allow_local)
        recipe, problems = reader.read(text, overrides)
    except BadDocumentError as error:
        recipe, problems = None, [error.problem]
    if problems:
        from lwa_core.locate import locate

        problems = locate(problems, text, str(file))
    return recipe, problems
