"""`lwa check`: everything that is wrong with a recipe, without running anything of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from lwa_core.cli._options import example, json_option, recipe_options, tell_local
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import echo, print_json, say

if TYPE_CHECKING:
    from lwa_core.plugins.trust import Allowing

EPILOG = """
  lwa check recipe.toml
  lwa check recipes/*.toml
  lwa check recipe.toml --set select.keep=4
"""


@click.command(epilog=example(EPILOG))
@click.argument("recipes", nargs=-1, required=True, type=FilePath(), metavar="RECIPE...")
@recipe_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    recipes: tuple[Path, ...],
    overrides: tuple[str, ...],
    block: tuple[str, ...],
    allow_local: Allowing,
    as_json: bool,
) -> None:
    """Say everything that is wrong with a recipe.

    Each problem comes with file, line and column. Exits with 3 where there is one. No data is read, no model is built.
    """
    from lwa_core.errors import RecipeError
    from lwa_core.recipe.reader import check_recipe

    told = []
    for file in recipes:
        recipe, problems = check_recipe(file, overrides, block=block, allow_local=allow_local)
        if recipe is not None:
            tell_local(recipe.registry)
        told.append({"file": str(file), "ok": recipe is not None, "problems": [attrs.asdict(p) for p in problems]})
        if problems and not as_json:
            from lwa_core.recipe.locate import render

            echo(render(problems))
        count = len(problems)
        say(f"{file}: {count or 'no'} problem{'' if count == 1 else 's'}", err=True)
    if as_json:
        print_json(told)
    if not all(each["ok"] for each in told):
        ctx.exit(RecipeError.exit_code)
