"""`lwa plan`: the stages of a run, what is stored already, what the machine lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import (
    example,
    json_option,
    open_recipe,
    print_json,
    recipe_argument,
    recipe_options,
    store_option,
)

if TYPE_CHECKING:
    from lwa_core.plan import Plan, Stage
    from lwa_core.recipe import Recipe
    from lwa_core.store import Store

EPILOG = """
  lwa plan recipe.toml
  lwa plan recipe.toml --set select.keep=2 --json
"""


@click.command(epilog=example(EPILOG))
@recipe_argument
@recipe_options
@store_option
@json_option
def command(
    *,
    recipe: Path,
    overrides: tuple[str, ...],
    block: tuple[str, ...],
    allow_local: bool,
    store: Path,
    as_json: bool,
) -> None:
    """Show the stages of a run, what is stored, and what is lacking.

    `lwa run` with the same options then does exactly the stages that are not stored. Data files are read for their
    checksums; nothing is computed.
    """
    from lwa_core.plan import make_plan
    from lwa_core.store import Store

    opened = open_recipe(recipe, overrides, block, allow_local)
    rows = _rows(opened, make_plan(opened), Store(store))
    if as_json:
        print_json(rows)
        return
    from lwa_core.cli._table import print_table

    cells = [[r["stage"], r["component"] or "", r["state"], (r["key"] or "")[:12], ", ".join(r["lacks"])] for r in rows]
    print_table(["stage", "component", "state", "key", "lacks"], cells)
    click.echo(f"{sum(r['state'] == 'stored' for r in rows)} of {len(rows)} stages are stored", err=True)


def _rows(recipe: Recipe, plan: Plan, store: Store) -> list[dict[str, Any]]:
    from lwa_core.plan import all_asked, stored_selection

    def row(stage: Stage) -> dict[str, Any]:
        state = "stored" if store.has(stage.kind, stage.key) else "to do"
        return _row(recipe, stage.name, stage.use, state, stage.key)

    before = [row(stage) for stage in (plan.data, plan.teacher, *plan.scores, plan.select)]
    selection = stored_selection(plan, store)
    if selection is None:
        # How many students there are, and of which layers, is known once the layers are selected.
        students = [_row(recipe, f"{use.name}, each tier", use, "after select", None) for use in recipe.compress]
        students.append(_row(recipe, "rank students", None, "after select", None))
        last = [_row(recipe, "measure time and memory", None, "after select", None)]
    else:
        tiers = plan.tiers(selection)
        models = [model for tier in tiers for model in tier.models]
        students = [row(model) for model in models] + [row(ranking) for tier in tiers for ranking in tier.rankings]
        last = [row(plan.performance([plan.teacher, *models]))]
        if all_asked([store.path(stage.kind, stage.key) for stage in (*plan.scores, plan.select)]):
            students.insert(0, row(plan.optimality(selection)))
    return [*before, *students, *(row(stage) for stage in plan.rankings), *last]


def _row(recipe: Recipe, name: str, use: Any, state: str, key: str | None) -> dict[str, Any]:
    lacks = recipe.registry.lacking(use.offer.component) if use is not None else []
    return {"stage": name, "component": use.component if use else None, "state": state, "key": key, "lacks": lacks}
