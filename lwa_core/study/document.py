"""A study: one TOML file that names a recipe, seeds and what varies -> `Study`, or all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import attrs

from lwa_core.errors import Problem, RecipeError
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.trust import Allowing
from lwa_core.recipe.document import BadDocumentError, parse, read_text
from lwa_core.recipe.overrides import value_text
from lwa_core.recipe.reader import Reader, check_recipe
from lwa_core.recipe.recipe import Recipe
from lwa_core.recipe.tables import Table
from lwa_core.settings import setting, structure
from lwa_core.settings.types import TomlPath, called
from lwa_core.study.design import DESIGNS, Knob, draw

MOST_RUNS = 10_000
"""Runs of one study."""


@attrs.frozen
class StudyHead:
    """The keys of a study that stand before its tables."""

    name: str = setting(help="what the study is called: letters, digits, '.', '_' and '-'")
    recipe: Path = setting(help="the recipe that is run", path=True)
    seeds: tuple[int, ...] = setting((0, 1, 2, 3, 4), help="every cell is run with each of them", minimum=0)
    set: tuple[str, ...] = setting((), help='changes to the recipe in all cells, "table.key=value" each')
    design: str = setting(
        "grid",
        help="grid: all combinations of the values; random, sobol, morris: cells drawn between `low` and `high`",
        choices=DESIGNS,
    )
    samples: int = setting(
        16,
        help="of a drawn design: cells (random), base samples (sobol: times knobs + 2) or trajectories (morris: times "
        "knobs + 1)",
        minimum=2,
    )
    reference: str = setting("", help="the cell that all others are compared with; the first where left out")
    margin: float = setting(
        0.01, help="differences below this share of the reference's figure are taken for none", above=0.0, maximum=1.0
    )
    plugins: tuple[str, ...] = setting((), help="Python files to load as plugins, relative to this file")


@attrs.frozen
class Vary:
    """One knob: a key of the recipe, or a whole table of it, and what it is set to.

    Knobs of one `together` go along with each other, value by value; all others are combined.
    """

    key: str = setting(help="a key of the recipe as --set takes it, `recommender.layers`, or a table, `compress`")
    name: str = setting("", help="its column in the results; the last part of the key where left out")
    labels: tuple[str, ...] = setting((), help="what the values are called in the results")
    together: str = setting("", help="knobs that name the same here go along with each other")
    low: float | None = setting(None, help="the lowest value of a drawn design")
    high: float | None = setting(None, help="the highest value of a drawn design")
    log: bool = setting(False, help="draw evenly on a logarithmic scale")
    whole: bool = setting(False, help="round what is drawn to whole numbers")


@attrs.frozen
class Cell:
    """One setting of all knobs.

    Args:
        name: `layers=4, block=gated`: unique, and the same whenever the study is read.
        settings: By the name of each knob what its value is called.
        overrides: What is set in the recipe.
        numbers: By the name of each knob of a drawn design its value.
    """

    name: str
    settings: Mapping[str, str]
    overrides: tuple[str, ...]
    numbers: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen
class Study:
    """A study without mistakes: its recipe holds with every cell and every trial.

    Args:
        tune: Trials of each cell, as overrides; empty: nothing is tuned.
        candidates: By cell the recipe of each trial, or the one that there is.
    """

    head: StudyHead
    file: Path
    cells: tuple[Cell, ...]
    tune: tuple[tuple[str, ...], ...]
    knobs: tuple[Knob, ...]
    registry: Registry
    candidates: Mapping[str, tuple[Recipe, ...]]

    def recipes_of(self, cell: str, seed: int) -> list[Recipe]:
        """The candidates of a cell with a seed."""
        return [attrs.evolve(recipe, seed=seed) for recipe in self.candidates[cell]]

    @property
    def recipes(self) -> dict[tuple[str, int], Recipe]:
        """One of each cell and seed: where there are trials, the last one's."""
        return {(cell, seed): self.recipes_of(cell, seed)[-1] for cell in self.candidates for seed in self.head.seeds}

    @property
    def name(self) -> str:
        return self.head.name

    @property
    def reference(self) -> str:
        """The cell that the others are compared with."""
        return self.head.reference or self.cells[0].name

    @property
    def runs(self) -> list[tuple[Cell, int]]:
        """Cell by cell, seed by seed: so that all cells have a seed before any has two."""
        return [(cell, seed) for seed in self.head.seeds for cell in self.cells]


VARY = Table("vary", Vary, several=True)
TUNE = Table("tune", dict)


class StudyReader(Reader):
    """Reads one study and gathers what is wrong with it."""

    told = "a study"
    head = StudyHead
    only: str | None = None
    """The one cell whose recipes are read."""
    tables = (VARY, TUNE)

    def read_study(self, overrides: Sequence[str]) -> tuple[Study | None, list[Problem]]:
        """The study, or None and the problems."""
        read: StudyHead | None = self._head()
        head = None
        if read is not None:
            head = attrs.evolve(read, recipe=self.folder / read.recipe, set=(*read.set, *overrides))
        self.registry = self._registry()
        knobs = self._knobs(head)
        trials = self._trials()
        if self.problems or head is None:
            return None, self.problems
        cells = self._cells(head, knobs)
        if not self.problems and head.reference and head.reference not in {cell.name for cell in cells}:
            hint = f"there are: {', '.join(cell.name for cell in cells[:8])}"
            self.problems.append(
                Problem("unknown-name", f"'reference' names no cell: {head.reference!r}", ("reference",), hint)
            )
        if not self.problems and len(cells) * len(head.seeds) > MOST_RUNS:
            said = f"{len(cells)} cells of {len(head.seeds)} seeds each are more than the {MOST_RUNS:,} runs allowed"
            self.problems.append(Problem("too-large", said, ("vary",), "make several studies of it", at_key=True))
        candidates = {} if self.problems else self._candidates(head, cells, trials)
        if self.problems:
            return None, self.problems
        study = Study(head, self.file, tuple(cells), tuple(trials), tuple(knobs), self.registry, candidates)
        return study, []

    # Knobs

    def _knobs(self, head: StudyHead | None) -> list[Knob]:
        tables = self.document.get("vary", [])
        if not isinstance(tables, list):
            self._wrong("'vary' must be a list of tables", ("vary",), "write [[vary]]")
            return []
        drawn = head is not None and head.design != "grid"
        knobs = [knob for place, table in enumerate(tables) if (knob := self._knob(table, ("vary", place), drawn))]
        names = [knob.name for knob in knobs]
        for place, name in enumerate(names):
            if name in names[:place]:
                said, hint = f"two [[vary]] are called '{name}'", 'give this one a name of its own: name = "..."'
                self.problems.append(Problem("duplicate-name", said, ("vary", place), hint))
        for group in sorted({knob.together for knob in knobs if knob.together}):
            lengths = {knob.name: len(knob.values) for knob in knobs if knob.together == group}
            if len(set(lengths.values())) > 1:
                said = f"knobs that go together have as many values each: {lengths}"
                self.problems.append(Problem("wrong-value", said, ("vary",), at_key=True))
        if drawn and not knobs:
            self.problems.append(Problem("missing-table", "a drawn design needs [[vary]]", ()))
        return knobs

    def _knob(self, table: Any, path: TomlPath, drawn: bool) -> Knob | None:
        if not isinstance(table, dict):
            self._wrong("'vary' must be a list of tables", path, "write [[vary]]")
            return None
        own = {key: value for key, value in table.items() if key != "values"}
        asked, problems = structure(Vary, own, path, self.folder, owner="[[vary]]")
        self.problems += problems
        values = table.get("values")
        if asked is None or not (self._drawable(asked, values, path) if drawn else self._listed(values, path)):
            return None
        labels = asked.labels or tuple(_label(value) for value in values or ())
        if values is not None and (len(labels) != len(values) or len(set(labels)) != len(labels)):
            said = f"each of the {len(values)} values needs a label of its own, and these are {', '.join(labels)}"
            self.problems.append(Problem("wrong-value", said, path, 'labels = ["a", "b"]'))
            return None
        name = asked.name or asked.key.rpartition(".")[2].strip('"')
        return Knob(
            asked.key,
            name,
            tuple(values or ()),
            labels,
            asked.together,
            asked.low,
            asked.high,
            asked.log,
            asked.whole,
        )

    def _listed(self, values: Any, path: TomlPath) -> bool:
        """Whether the values of a knob are a list of some."""
        if isinstance(values, list) and values:
            return True
        told = "they are missing" if values is None else f"they are {called(values)}"
        said = f"'values' must be a list of at least one value: {told}"
        self.problems.append(Problem("missing-setting", said, path, "values = [2, 4, 8]", at_key=True))
        return False

    def _drawable(self, asked: Vary, values: Any, path: TomlPath) -> bool:
        """Whether a knob has a range to draw from."""
        if values is not None or asked.low is None or asked.high is None or asked.low >= asked.high:
            said = "a knob of a drawn design has 'low' and 'high' in this order, and no values"
            self.problems.append(Problem("wrong-value", said, path, "low = 1, high = 8"))
            return False
        if asked.log and asked.low <= 0:
            self.problems.append(Problem("wrong-value", "a logarithmic scale begins above 0", (*path, "low")))
            return False
        return True

    def _trials(self) -> list[tuple[str, ...]]:
        """The settings that are tried for each cell: all combinations."""
        table = self.document.get("tune", {})
        if not isinstance(table, dict):
            self._wrong("'tune' must be a table", ("tune",), "write [tune]")
            return []
        lists = []
        for key, values in table.items():
            if not isinstance(values, list) or not values:
                said = f"'{key}' must be a list of values to try"
                self.problems.append(Problem("wrong-type", said, ("tune", key), f'"{key}" = [0.001, 0.003]'))
                continue
            lists.append([f"{key}={value_text(value)}" for value in values])
        return [tuple(each) for each in product(*lists)] if lists else []

    # Cells

    def _cells(self, head: StudyHead, knobs: Sequence[Knob]) -> list[Cell]:
        if head.design != "grid":
            return [
                Cell(
                    ", ".join(f"{name}={_label(value)}" for name, value in numbers.items()),
                    {name: _label(value) for name, value in numbers.items()},
                    tuple(f"{knob.key}={value_text(numbers[knob.name])}" for knob in knobs),
                    {name: float(value) for name, value in numbers.items()},
                )
                for numbers in draw(head.design, knobs, head.samples, seed=0)
            ]
        groups: dict[str, list[Knob]] = {}
        for place, knob in enumerate(knobs):
            groups.setdefault(knob.together or f"#{place}", []).append(knob)
        choices = [range(len(group[0].values)) for group in groups.values()]
        cells = []
        for chosen in product(*choices):
            picked = [(knob, at) for group, at in zip(groups.values(), chosen, strict=True) for knob in group]
            settings = {knob.name: knob.labels[at] for knob, at in picked}
            name = ", ".join(f"{key}={value}" for key, value in settings.items()) or "as it is"
            cells.append(
                Cell(name, settings, tuple(f"{knob.key}={value_text(knob.values[at])}" for knob, at in picked))
            )
        return cells

    def _candidates(
        self, head: StudyHead, cells: Sequence[Cell], trials: Sequence[tuple[str, ...]]
    ) -> dict[str, tuple[Recipe, ...]]:
        """The recipes of each cell. What is wrong with one is told once, with the cell that shows it."""
        found = {}
        for cell in (cell for cell in cells if self.only in (None, cell.name)):
            read = []
            for trial in trials or [()]:
                recipe = self._recipe(head, [*head.set, *cell.overrides, *trial], cell)
                if recipe is None:
                    break
                read.append(recipe)
            found[cell.name] = tuple(read)
        return found

    def _recipe(self, head: StudyHead, overrides: Sequence[str], cell: Cell) -> Recipe | None:
        recipe, wrong = check_recipe(head.recipe, overrides, block=self.block, allow_local=self.allow_local)
        known = {(problem.code, problem.message, problem.file, problem.line) for problem in self.problems}
        for problem in wrong:
            if (problem.code, problem.message, problem.file, problem.line) not in known:
                hint = f"{problem.hint}; " if problem.hint else ""
                self.problems.append(attrs.evolve(problem, hint=f"{hint}in the cell {cell.name}"))
        return recipe


def _label(value: Any) -> str:
    """What a value is called: itself; of tables what they use."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return str(value.get("name") or value.get("use") or json.dumps(value))
    if isinstance(value, list):
        return "+".join(map(_label, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def load_study(
    file: Path,
    overrides: Sequence[str] = (),
    *,
    block: Collection[str] = (),
    allow_local: Allowing = True,
    only: str | None = None,
) -> Study:
    """Read and check a study.

    Args:
        file: The TOML file.
        overrides: Changes to the recipe in all cells, behind those of the file.
        block: Plugins to leave out.
        allow_local: Whether the code of `plugins = ["./file.py"]` may be run, as in `check_recipe`.
        only: The one cell whose recipes are read, where the others were read before.

    Raises:
        RecipeError: With every problem, of this file and of the recipe in every cell, each at its place.
    """
    from lwa_core.recipe.locate import locate, render

    text = ""
    try:
        text = read_text(file)
        reader = StudyReader(file, parse(text), block, allow_local)
        reader.only = only
        study, problems = reader.read_study(overrides)
    except BadDocumentError as error:
        study, problems = None, [error.problem]
    if study is None:
        placed = locate(problems, text, str(file))
        raise RecipeError(render(placed), placed)
    return study


def is_study(file: Path) -> bool:
    """Whether a TOML file is a study and no recipe: it names a recipe, and has no data."""
    try:
        document = parse(read_text(file))
    except BadDocumentError:
        return False
    return "recipe" in document and not ({"data", "texts", "recommender", "cell"} & document.keys())
