"""Options that several commands share, as decorators, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import say
from lwa_core.cli._trust import VARIABLE, allowing

if TYPE_CHECKING:
    from lwa_core.plugins.registry import Registry
    from lwa_core.plugins.trust import Allowing
    from lwa_core.recipe.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])

block_option = click.option(
    "--block", multiple=True, metavar="PLUGIN", help="Leave a plugin out; may be repeated. LWA_BLOCK does the same."
)
"""`block: tuple[str, ...]`."""


class _Folder(FilePath):
    """A folder's path. An empty one, as a variable that is not set gives it, would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx) if str(value) else self.fail("the name is empty", param, ctx)


store_option = click.option(
    "--store",
    type=_Folder(),
    default="lwa-runs",
    show_default=True,
    envvar="LWA_STORE",
    show_envvar=True,
    help="Folder that holds results and runs.",
)
"""`store: Path`."""

smoke_test_option = click.option(
    "--smoke-test/--no-smoke-test",
    default=True,
    show_default=True,
    help="Try every component on a few rows of the data first, where something is to be done.",
)
"""`smoke_test: bool`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""`as_json: bool`."""

_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, for example select.keep=4 or score.fisher.name=f; may be repeated.",
)
local_option = click.option(
    "--allow-local/--no-local-plugins",
    "allow_local",
    default=None,
    envvar=VARIABLE,
    show_envvar=True,
    callback=allowing,
    help="Run, or refuse, the Python files that a recipe names by `plugins = [...]`.  [default: those allowed before]",
)
"""`allow_local: Allowing`."""


def recipe_options(command: F) -> F:
    """`overrides: tuple[str, ...]`, `block: tuple[str, ...]`, `allow_local: Allowing`: how a recipe is to be read."""
    for option in (local_option, block_option, _set_option):
        command = option(command)
    return command


def recipe_argument(command: F) -> F:
    """`recipe: Path`; the recipe's own reader says what is wrong with the file."""
    return click.argument("recipe", type=FilePath())(command)


def example(text: str) -> str:
    """An epilog that shows how a command is used, its lines kept as they are."""
    lines = text.strip("\n")
    return f"\b\nExample:\n{lines}\n"


def open_recipe(recipe: Path, overrides: tuple[str, ...], block: tuple[str, ...], allow_local: Allowing) -> Recipe:
    """The recipe. Says on stderr which local files were loaded. Raises RecipeError with all problems."""
    from lwa_core.recipe.reader import load_recipe

    opened = load_recipe(recipe, overrides, block=block, allow_local=allow_local)
    tell_local(opened.registry)
    return opened


def tell_local(registry: Registry) -> None:
    """Code that came with a recipe was run: the user is told."""
    from lwa_core.training import processes

    for info in registry.local_files if processes.is_first() else ():
        say(f"loaded local plugin {info.file}", err=True)


def warn(message: str) -> None:
    """Say on stderr what stood in the way of a file."""
    say(f"warning[set-aside]: {message}", err=True)
