"""`lwa plan`: the stages of a run, what is stored already, what the machine lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import (
    example,
    json_option,
    open_recipe,
    recipe_argument,
    recipe_options,
    smoke_test_option,
    store_option,
)
from lwa_core.cli._terminal import echo, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lwa_core.errors import LwaError
    from lwa_core.pipeline.graph import Stage
    from lwa_core.pipeline.plan import Plan
    from lwa_core.plugins.trust import Allowing
    from lwa_core.recipe.recipe import Recipe
    from lwa_core.store.results import Store

EPILOG = """
  lwa plan recipe.toml
  lwa plan recipe.toml --set select.keep=2 --json
  lwa plan recipe.toml --no-smoke-test
"""


@click.command(epilog=example(EPILOG))
@recipe_argument
@recipe_options
@store_option
@smoke_test_option
@json_option
def command(
    *,
    recipe: Path,
    overrides: tuple[str, ...],
    block: tuple[str, ...],
    allow_local: Allowing,
    store: Path,
    smoke_test: bool,
    as_json: bool,
) -> None:
    """Show the stages of a run, what is stored, and what is lacking, and try what is to be done.

    `lwa run` with the same options then does exactly the stages that are not stored. Where some are not, the data is
    prepared and every component tried on a few rows of it, in seconds, and both are stored; with --no-smoke-test data
    files are read for their checksums and nothing is computed. Of a study it shows the runs.
    """
    from lwa_core.study.document import is_study, load_study

    if is_study(recipe):
        from lwa_core.cli.study import print_plan

        print_plan(load_study(recipe, overrides, block=block, allow_local=allow_local), store, as_json)
        return
    from lwa_core.pipeline.plan import make_plan
    from lwa_core.store.results import Store

    opened = open_recipe(recipe, overrides, block, allow_local)
    plan, opened_store = make_plan(opened), Store(store)
    failure = _tried(plan, opened_store) if smoke_test else None
    rows = _rows(opened, plan, opened_store)
    if as_json:
        print_json(rows)
    else:
        _print(rows)
        _say_baseline(plan, opened_store)
    if failure is not None:
        raise failure


def _print(rows: list[dict[str, Any]]) -> None:
    from lwa_core.cli._table import print_table

    cells = [[r["stage"], r["component"] or "", r["state"], (r["key"] or "")[:12], ", ".join(r["lacks"])] for r in rows]
    print_table(["stage", "component", "state", "key", "lacks"], cells)
    echo(f"{sum(r['state'] == 'stored' for r in rows)} of {len(rows)} stages are stored", err=True)


def _say_baseline(plan: Plan, store: Store) -> None:
    """What a teacher has to beat, once that is known: the untrained table on the validation users it was tuned on."""
    stage: Any = None if plan.baselines is None else plan.baselines.inputs.get("transitions")
    tuned = None if stage is None else stage.stored(store)
    if tuned is not None and tuned.ndcg is not None:
        asked = f"{tuned.examples:,} validation users, {tuned.tried} settings tried"
        echo(f"untrained, transitions reaches NDCG@{tuned.k} {tuned.ndcg:.4f} ({asked})", err=True)


def _tried(plan: Plan, store: Store) -> LwaError | None:
    """What the smoke test of a recipe shows; None where all is well, stored, or cannot be tried on this machine."""
    from lwa_core.errors import LwaError, NeedsError
    from lwa_core.pipeline.graph import all_stored

    if store.has(plan.smoke.kind, plan.smoke.key) or all_stored(plan.stages, store):
        return None
    from lwa_core.cli._progress import Progress
    from lwa_core.modeling.devices import use_device
    from lwa_core.pipeline.events import Bus
    from lwa_core.pipeline.graph import Run
    from lwa_core.pipeline.run import assert_able
    from lwa_core.types import RunContext

    recipe = plan.recipe
    try:
        assert_able(recipe)
        with Progress() as progress, use_device(recipe.device):
            bus = Bus(recipe.registry, RunContext(recipe.name, store.root), [progress])
            Run(recipe, store, bus).path(plan.smoke)
    except NeedsError:
        return None  # the table says what is lacking
    except LwaError as error:
        return error
    return None


def _rows(recipe: Recipe, plan: Plan, store: Store) -> list[dict[str, Any]]:
    def row(stage: Stage[Any]) -> dict[str, Any]:
        state = "stored" if store.has(stage.kind, stage.key) else "to do"
        told = _row(recipe, stage.name, stage.use, state, stage.key, _runs_model(stage))
        told["lacks"] += _lacking_processors(stage)
        return told

    def following(stages: Sequence[Stage[Any]]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for stage in stages:
            rows.append(row(stage))
            if stage.expand is None:
                continue
            if stage.stored(store) is not None and all(store.find(s.kind, s.key) for s in stage.before):
                rows += following(stage.expand(stage.stored(store), lambda before: before.stored(store)))
            else:  # how many students there are, and of which layers, is known once the layers are selected
                rows += [_row(recipe, name, use, f"after {stage.name}", None) for name, use in stage.promises]
        return rows

    rows, smoke = following(plan.stages), row(plan.smoke)
    needed = smoke["state"] == "stored" or any(each["state"] != "stored" for each in rows)
    return [rows[0], smoke, *rows[1:]] if needed else rows


def _lacking_processors(stage: Stage[Any]) -> list[str]:
    """What a stage lacks that measures with more threads than this machine has processors."""
    from lwa_core.measuring.load import usable_cores

    wanted = stage.asked.get("threads", 1) if stage.kind == "configurations" else 1
    return [f"{wanted} processors"] if wanted > usable_cores() else []


def _runs_model(stage: Stage[Any]) -> bool:
    """Whether it makes a model or has one among what lies before it."""
    return stage.kind in ("model", "smoke-test") or any(map(_runs_model, stage.before))


def _row(recipe: Recipe, name: str, use: Any, state: str, key: str | None, model: bool = True) -> dict[str, Any]:
    from lwa_core.plugins.requirements import lacking_device

    lacks = recipe.registry.lacking(use.offer.component) if use is not None else []
    lacks = sorted({*lacks, *(lacking_device(recipe.device) if model else [])})
    return {"stage": name, "component": use.component if use else None, "state": state, "key": key, "lacks": lacks}
