"""A recipe: one TOML file that names data, recommender, scorers, selector and compressors -> `Recipe`, or all that is
wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from lwa_core.data.sections import Filter, Measurement, Split
from lwa_core.modeling.layers.folder_depth import depth_of_folder
from lwa_core.modeling.probing.sections import Calibration
from lwa_core.plugins.protocols import Baseline, CombiningScorer, NamesScorers, StatesDepth
from lwa_core.plugins.registry import Offer, Registry
from lwa_core.recipe.document import paths
from lwa_core.recipe.profiles import Profile
from lwa_core.recipe.tables import TASKS
from lwa_core.recommendation.sections import Evaluate
from lwa_core.settings import setting, unstructure
from lwa_core.settings.types import TomlPath

if TYPE_CHECKING:
    from lwa_core.recipe.locate import Locator

DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


@attrs.frozen
class Use:
    """One component of a recipe with its settings.

    Args:
        kind: `dataset`, `recommender`, `scorer`, `selector`, `compressor` or `exporter`.
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
    def who(self) -> str:
        """How messages call it: kind, name, and the plugin, distribution and version behind it."""
        return f"{self.kind} '{self.name}' of {self.offer.provider}"

    @property
    def combines(self) -> bool:
        """Whether it is a scorer that works on the scores of others."""
        return isinstance(self.instance, CombiningScorer)

    @property
    def baseline(self) -> bool:
        """Whether it is a scorer that looks at nothing and is there to be beaten."""
        return isinstance(self.instance, Baseline) and bool(self.instance.baseline)


@attrs.frozen
class Head:
    """The keys of a recipe that stand before its tables."""

    name: str = setting(help="what the run is called, and its folder: letters, digits, '.', '_' and '-'")
    task: str = setting(
        "recommendation", help="what the model does, which says which tables there are", choices=tuple(TASKS)
    )
    seed: int = setting(0, help="every random choice follows from it", minimum=0, maximum=2**32 - 1)
    device: str = setting("auto", help="where models run: auto (a GPU where there is one), cpu, cuda, cuda:1 …")
    precision: str = setting(
        "float32",
        help="of the weights; bfloat16 trains with float32 weights and keeps what comes out in bfloat16",
        choices=("float32", "bfloat16"),
    )
    plugins: tuple[str, ...] = setting((), help="Python files to load as plugins, relative to the recipe")


@attrs.frozen
class Recipe:
    """A recipe without mistakes: every component found, every setting checked, every default filled in.

    `parts` holds, by the name of its table, the core's own settings, a `Use`, several of them, or None for an optional
    table that is not there.
    """

    name: str
    seed: int
    file: Path | None
    text: str
    plugins: tuple[str, ...]
    parts: Mapping[str, Any]
    registry: Registry
    task: str = "recommendation"
    device: str = "auto"
    precision: str = "float32"
    overrides: tuple[str, ...] = ()

    @property
    def data(self) -> Use:
        """The dataset."""
        return cast(Use, self.parts["data"])

    @property
    def recommender(self) -> Use:
        """The recommender."""
        return cast(Use, self.parts["recommender"])

    @property
    def scorers(self) -> tuple[Use, ...]:
        """The scorers, in the recipe's order."""
        return cast("tuple[Use, ...]", self.parts["score"])

    @property
    def select(self) -> Use | None:
        """The selector, if there is one."""
        return cast("Use | None", self.parts["select"])

    @property
    def compress(self) -> tuple[Use, ...]:
        """The compression steps, in their order."""
        return cast("tuple[Use, ...]", self.parts["compress"])

    @property
    def export(self) -> tuple[Use, ...]:
        """The forms in which the models are to ship; none for a task whose models do not."""
        return cast("tuple[Use, ...]", self.parts.get("export", ()))

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The devices that models are measured against."""
        return cast("tuple[Profile, ...]", self.parts.get("profile", ()))

    @property
    def filter(self) -> Filter:
        return cast(Filter, self.parts["filter"])

    @property
    def split(self) -> Split:
        return cast(Split, self.parts["split"])

    @property
    def calibration(self) -> Calibration:
        return cast(Calibration, self.parts["calibration"])

    @property
    def measurement(self) -> Measurement:
        """How figures are measured, whatever the task."""
        return cast(Measurement, self.parts["evaluate"])

    @property
    def evaluate(self) -> Evaluate:
        """What is measured of a recommender."""
        return cast(Evaluate, self.parts["evaluate"])

    @property
    def depth(self) -> int | None:
        """How many layers the full model has, where the recipe or the model's config.json says so."""
        model = self.parts.get("model")
        if model is not None:
            return depth_of_folder(model.path)
        recommender = self.recommender.instance
        return recommender.depth if isinstance(recommender, StatesDepth) else None

    @property
    def uses(self) -> tuple[Use, ...]:
        """Every component, in the order of the flow."""
        found: list[Use] = []
        for part in self.parts.values():
            parts = part if isinstance(part, tuple) else (part,)
            found += [each for each in parts if isinstance(each, Use)]
        return tuple(found)

    def replaced(self, name: str | None = None, **parts: Any) -> Recipe:
        """The same with other parts, by the names of their tables, and maybe under another name."""
        return attrs.evolve(self, name=name or self.name, parts={**self.parts, **parts})

    def resolved(self) -> dict[str, Any]:
        """Every key with its default, ready for JSON and TOML, and under `components` who provides each component.

        A setting that is None is left out: TOML has no null, and leaving it out means the same. So is a table that the
        recipe does without.
        """
        tables: dict[str, Any] = {
            "name": self.name,
            "task": self.task,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            "plugins": list(self.plugins),
        }
        for name, part in self.parts.items():
            if isinstance(part, Use):
                tables[name] = {"use": part.component, **_without_none(part.settings)}
            elif name == "profile":
                tables[name] = [
                    {"use": each.use, "name": each.name, **_without_none(unstructure(each.limits))} for each in part
                ]
            elif isinstance(part, tuple):
                tables[name] = [{"use": use.component, "name": use.name, **_without_none(use.settings)} for use in part]
            elif part is not None:
                tables[name] = _without_none(unstructure(part))
        return {**tables, "components": [provenance(use) for use in self.uses]}

    def line(self, path: TomlPath) -> int | None:
        """The line of a TOML path or of the innermost table around it; None for what the file does not say."""
        if not any(path[:length] in paths(self.text) for length in range(1, len(path) + 1)):
            return None
        return _locator(self.text).find(path).line

    def place(self, use: Use | None) -> str:
        """Where a component stands, as ` (FILE:LINE)`; empty for what the file does not say."""
        line = None if use is None else self.line(use.path)
        return f" ({self.file}:{line})" if self.file is not None and line is not None else ""


def combined_by(use: Use, scorers: Sequence[Use]) -> tuple[Use, ...]:
    """The scorers that a combining one names in `of`, or all but the baselines; never one that combines."""
    own, named = [scorer for scorer in scorers if not scorer.combines], named_by(use.instance)
    return tuple(scorer for scorer in own if (scorer.name in named if named else not scorer.baseline))


def named_by(component: object) -> Sequence[str]:
    """The scorers that a combining scorer or a compressor names."""
    return component.of if isinstance(component, NamesScorers) else ()


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def provenance(use: Use) -> dict[str, Any]:
    """Who provides a component, JSON-ready: plugin, distribution, its version, the digest of its files where known."""
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
    from lwa_core.recipe.locate import Locator

    return Locator(text)
