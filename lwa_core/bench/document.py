"""A benchmark: one TOML file of recipes, seeds, scorers and selectors -> `Bench`, or all that is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import attrs

from lwa_core.errors import Problem, RecipeError
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.trust import Allowing
from lwa_core.recipe.document import BadDocumentError, parse, read_text
from lwa_core.recipe.reader import Reader, check_recipe
from lwa_core.recipe.recipe import Recipe, Use
from lwa_core.recipe.tables import Table
from lwa_core.settings import setting, structure
from lwa_core.settings.types import TomlPath

BASELINES = ("first-last", "last-first")
"""Scorers that are always compared."""

BASELINE_SELECTORS = ("uniform",)
"""Selectors that are always compared."""


MOST_CELLS = 1000
"""Models of one benchmark: each takes minutes at least."""


@attrs.frozen
class BenchHead:
    """The keys of a benchmark that stand before its tables."""

    name: str = setting(help="what the benchmark is called: letters, digits, '.', '_' and '-'")
    seeds: tuple[int, ...] = setting((0, 1, 2), help="each cell is trained and measured with each of them", minimum=0)
    plugins: tuple[str, ...] = setting((), help="Python files to load as plugins, relative to this file")


@attrs.frozen
class CellTable:
    """One model on one data set: data, filters, split, recommender and calibration of a recipe."""

    recipe: Path = setting(help="the recipe; its scorers, selector and compressors are not used", path=True)
    name: str = setting("", help="what the cell is called; the recipe's name where left out")
    set: tuple[str, ...] = setting((), help='changes to the recipe, "table.key=value" each')


@attrs.frozen
class Measure:
    """How the comparison is measured."""

    test: int = setting(2048, help="at most this many test examples in the table of all layer subsets", minimum=50)
    healed: tuple[float, ...] = setting(
        (0.25, 0.5),
        help="shares of the layers after whose removal the students are repaired and healed",
        above=0.0,
        maximum=0.9,
    )
    controls: int = setting(
        8, help="planted and untrained controls for models of at most this many layers; 0: none", minimum=0, maximum=12
    )


@attrs.frozen
class Cell:
    """One model to train: a recipe with one seed."""

    name: str
    seed: int
    recipe: Recipe

    @property
    def title(self) -> str:
        """What it goes by in lists."""
        return f"{self.name} seed {self.seed}"


@attrs.frozen
class Bench:
    """A benchmark without mistakes."""

    name: str
    file: Path
    cells: tuple[Cell, ...]
    scorers: tuple[Use, ...]
    selectors: tuple[Use, ...]
    repair: Use | None
    heal: Use | None
    measure: Measure
    registry: Registry

    @property
    def entries(self) -> tuple[Use, ...]:
        """Everything that is compared."""
        return (*self.scorers, *self.selectors)


CELLS = Table("cell", CellTable, several=True, required=True)


class BenchReader(Reader):
    """Reads one benchmark and gathers what is wrong with it."""

    told = "a benchmark"
    head = BenchHead
    tables = (
        Table("score", "scorer", several=True),
        Table("select", "selector", several=True),
        Table("repair", "compressor"),
        Table("heal", "compressor"),
        Table("measure", Measure),
        CELLS,
    )

    def read_bench(self, scorers: Sequence[str]) -> tuple[Bench | None, list[Problem]]:
        """The benchmark, or None and the problems; `scorers` are compared besides those of the file."""
        self._add("score", [*BASELINES, *scorers])
        self._add("select", BASELINE_SELECTORS)
        head = self._head()
        self.registry = self._registry()
        parts = {table.name: self._table(table) for table in self.tables if table is not CELLS}
        cells = self._cells(head.seeds if head is not None else ())
        if self.problems:
            return None, self.problems
        return (
            Bench(
                name=head.name,
                file=self.file,
                cells=cells,
                scorers=parts["score"],
                selectors=parts["select"],
                repair=parts["repair"],
                heal=parts["heal"],
                measure=parts["measure"],
                registry=self.registry,
            ),
            [],
        )

    def _add(self, section: str, names: Sequence[str]) -> None:
        """Entries that the file does not have already."""
        tables = self.document.setdefault(section, [])
        if isinstance(tables, list):
            used = [table.get("use") for table in tables if isinstance(table, dict)]  # of whatever type: checked later
            tables += [{"use": name} for name in dict.fromkeys(names) if name not in used]

    def _use(self, kind: str, table: Any, path: TomlPath, named: bool = False) -> Use | None:
        if kind == "selector" and isinstance(table, dict):
            if "keep" in table:
                said = "the benchmark sets 'keep' itself: all depths to half the layers"
                self.problems.append(Problem("unknown-setting", said, (*path, "keep"), "leave it out", at_key=True))
            table = {**table, "keep": 1}
        return super()._use(kind, table, path, named)

    def _cells(self, seeds: Sequence[int]) -> tuple[Cell, ...]:
        tables = self.document.get("cell")
        if not isinstance(tables, list) or not tables:
            said = "a benchmark needs [[cell]]"
            self.problems.append(Problem("missing-table", said, (), 'add [[cell]] with recipe = "some-recipe.toml"'))
            return ()
        if len(tables) * len(seeds) > MOST_CELLS:
            said = f"{len(tables)} [[cell]] of {len(seeds)} seeds each are more than the {MOST_CELLS:,} models allowed"
            self.problems.append(Problem("too-large", said, ("cell",), "make several benchmarks of it", at_key=True))
            return ()
        cells: list[Cell] = []
        for place, table in enumerate(tables):
            cells += self._cell(table, ("cell", place), seeds)
        names = [cell.name for cell in cells if cell.seed == seeds[0]]
        for place, name in enumerate(names):
            if name in names[:place]:
                said, hint = f"two [[cell]] are called '{name}'", 'give this one a name of its own: name = "..."'
                self.problems.append(Problem("duplicate-name", said, ("cell", place), hint))
        return tuple(cells)

    def _cell(self, table: Any, path: TomlPath, seeds: Sequence[int]) -> list[Cell]:
        if not isinstance(table, dict):
            self._wrong("'cell' must be a list of tables", path, "write [[cell]]")
            return []
        asked, problems = structure(CellTable, table, path, self.folder, owner="[[cell]]")
        self.problems += problems
        cells = []
        for seed in seeds if asked is not None else ():
            overrides = [*asked.set, f"seed={seed}"]
            recipe, wrong = check_recipe(
                asked.recipe, overrides, block=self.block, allow_local=self.allow_local, selects=False
            )
            if recipe is None:
                self.problems += wrong
                break
            cells.append(Cell(asked.name or recipe.name, seed, recipe))
        return cells


def load_bench(
    file: Path, scorers: Sequence[str] = (), *, block: Collection[str] = (), allow_local: Allowing = True
) -> Bench:
    """Read and check a benchmark.

    Args:
        file: The TOML file.
        scorers: Scorers to compare besides those of the file.
        block: Plugins to leave out.
        allow_local: Whether the code of `plugins = ["./file.py"]` may be run, as in `check_recipe`.

    Raises:
        RecipeError: With every problem, of this file and of the recipes that it names, each at its place.
    """
    from lwa_core.recipe.locate import locate, render

    text = ""
    try:
        text = read_text(file)
        bench, problems = BenchReader(file, parse(text), block, allow_local).read_bench(scorers)
    except BadDocumentError as error:
        bench, problems = None, [error.problem]
    if bench is None:
        placed = locate(problems, text, str(file))
        raise RecipeError(render(placed), placed)
    return bench
