"""`lwa init`: a commented recipe that shows the whole flow and every setting with its default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from lwa_core.cli._options import block_option, example
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import echo, say

if TYPE_CHECKING:
    from lwa_core.plugins.registry import Registry


@attrs.frozen
class Part:
    """One table of the recipe.

    Args:
        table: Its name.
        comment: What it is for; empty for the second of a list.
        component: What it uses; None for the core's own tables, and for data, which the user chooses.
        set: Settings that are not left at their defaults.
    """

    table: str
    comment: str = ""
    component: str | None = None
    set: Mapping[str, Any] = attrs.field(factory=dict)


FLOW = (
    Part("data", "What to learn from."),
    Part("filter", "Which interactions stay."),
    Part("split", "Who may look at what: training, validation, calibration, test."),
    Part("recommender", "The model: the teacher.", "sequential"),
    Part("score", "How much each layer matters; add as many as you like.", "leave-one-out", {"utility": "kl"}),
    Part("score", "", "gate-fisher"),
    Part("score", "A baseline: what does not beat it says nothing.", "random"),
    Part("calibration", "What the scorers and the selector look at.", None, {"utility": "kl"}),
    Part("select", "Which layers stay: by measuring again after every removal.", "greedy", {"keep": 1}),
    Part("compress", "How the smaller model is made, step by step.", "drop"),
    Part("compress", "", "patch"),
    Part("compress", "", "distill"),
    Part("evaluate", "What is measured, on data that no choice above has seen."),
)
"""What docs/guide.md advises to start with, which a test holds it to."""


@click.command(epilog=example("  lwa init\n  lwa init movies.toml --data movielens\n  lwa init - --data table"))
@click.argument("file", default="recipe.toml", type=FilePath(allow_dash=True))
@click.option("--data", "kind", default="synthetic", show_default=True, help="Dataset to use; `lwa plugins list`.")
@block_option
def command(file: Path, kind: str, block: tuple[str, ...]) -> None:
    """Write a commented recipe to start from.

    FILE is recipe.toml unless given; `-` prints the recipe. A file that is there is never overwritten.
    """
    from lwa_core.errors import LwaError
    from lwa_core.plugins.registry import Registry
    from lwa_core.store.refusals import explained

    text = recipe_text(Registry.discover(block=block), "my-run" if str(file) == "-" else file.stem, kind)
    if str(file) == "-":
        echo(text, nl=False)
        return
    try:
        with explained(file), file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except LwaError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise LwaError(f"{file} is there already", "name another file, or remove this one first") from None
        raise
    say(f"wrote {file}; next: lwa check {file}, then lwa run {file}", err=True)


def recipe_text(registry: Registry, name: str, kind: str) -> str:
    """A recipe with the default flow, every optional setting as a comment. Raises PluginError for an unknown kind."""
    return "\n".join(_lines(registry, name, kind)) + "\n"


def _lines(registry: Registry, name: str, data: str) -> Iterator[str]:
    from lwa_core.recipe.document import NAME
    from lwa_core.recipe.tables import TASKS

    tables = {table.name: table for table in TASKS["recommendation"]}

    yield "# A recipe for lwa. Lines that start with # are settings left at their default: take the # away to set one."
    yield f'name = "{name if NAME.fullmatch(name) else "my-run"}"'
    yield "# seed = 0  # every random choice follows from it"
    for part in FLOW:
        table = tables[part.table]
        yield ""
        if part.comment:
            yield f"# {part.comment}"
        yield table.header
        if isinstance(table.holds, type):
            yield from _settings(table.holds, part.set)
        else:
            offer = registry.find(table.holds, part.component or data)
            yield f'use = "{offer.name}"'
            yield from _settings(offer.load(), part.set)


def _settings(cls: type, given: Mapping[str, Any]) -> Iterator[str]:
    from lwa_core.settings import describe

    for told in describe(cls):
        note = told["help"] + (f" [{told['unit']}]" if told["unit"] else "")
        if told["choices"]:
            note += f" ({' | '.join(map(str, told['choices']))})"
        value = given.get(told["name"], told["default"])
        value = _placeholder(told) if value is None else value
        left_out = not told["required"] and told["name"] not in given
        yield f"{'# ' if left_out else ''}{told['name']} = {_toml(value)}" + (f"  # {note}" if note else "")


def _placeholder(told: dict[str, Any]) -> Any:
    """A value of the right type for a setting that has none yet."""
    if told["choices"]:
        return told["choices"][0]
    lowest = told["bounds"].get("minimum", told["bounds"].get("above", 0) + 1)
    for kind, value in (("an integer", lowest), ("a number", float(lowest)), ("true or false", False), ("a list", [])):
        if told["type"].startswith(kind):
            return value
    return "path/to/data" if told["type"] == "a path" else "..."


def _toml(value: Any) -> str:
    """A value as TOML has it, on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    import json

    return json.dumps(value, ensure_ascii=False)  # of leaves, TOML's spelling is JSON's
