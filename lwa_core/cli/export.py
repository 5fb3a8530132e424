"""`lwa export`: the layers that a run chose, in the words of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import example, json_option
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import echo, print_json

if TYPE_CHECKING:
    from lwa_core.types import DepthPlan

EPILOG = """
  lwa export lwa-runs/runs/quickstart-1a2b3c4d
  lwa export lwa-runs/runs/quickstart-1a2b3c4d --as mergekit --tier 0 > merge.yaml
"""

FORMS = ("text", "mergekit", "llama.cpp")


@click.command(epilog=example(EPILOG))
@click.argument("run", type=FilePath())
@click.option("--as", "form", type=click.Choice(FORMS), default="text", show_default=True, help="What to write.")
@click.option(
    "--tier", type=click.IntRange(min=0), metavar="N", help="Which tier of the plan, from 0; all where left out."
)
@click.option("--model", metavar="NAME", help="Model that mergekit is to take the layers of, instead of the teacher.")
@click.option("--dtype", metavar="NAME", help="Precision that mergekit is to write, instead of the teacher's.")
@json_option
def command(*, run: Path, form: str, tier: int | None, model: str | None, dtype: str | None, as_json: bool) -> None:
    """Print which layers a run keeps, for people, for mergekit or for llama.cpp.

    `--as llama.cpp` prints for each tier the command that leaves the other layers out. `--as mergekit` prints a
    configuration with `merge_method: passthrough`, one slice for each run of neighbouring layers.
    """
    from lwa_core.pipeline.export import as_llama_cpp, as_mergekit, as_text, read_plan, teacher_of

    if form != "mergekit" and (model is not None or dtype is not None):
        raise click.UsageError("--model and --dtype are for --as mergekit")
    plan = read_plan(run)
    numbers = _numbers(plan, tier)
    if as_json:
        print_json({"folder": str(run), "depth": plan.depth, "tiers": [_told(plan, number) for number in numbers]})
    elif form == "text":
        for number in numbers:
            name = f"tier {number}: " if len(plan.tiers) > 1 else ""
            echo(name + as_text(plan.tiers[number], plan.depth))
    elif form == "llama.cpp":
        for number in numbers:
            echo(as_llama_cpp(plan.tiers[number], plan.depth), nl=False)
    elif len(numbers) > 1:
        raise click.UsageError(f"the plan has {len(numbers)} tiers and mergekit makes one model: give --tier")
    else:
        folder, precision = teacher_of(run) if model is None or dtype is None else (run, "")
        echo(as_mergekit(plan.tiers[numbers[0]], model or str(folder), dtype or precision), nl=False)


def _numbers(plan: DepthPlan, tier: int | None) -> list[int]:
    if tier is None:
        return list(range(len(plan.tiers)))
    if tier >= len(plan.tiers):
        raise click.UsageError(f"the plan has no tier {tier}; its tiers are 0 to {len(plan.tiers) - 1}")
    return [tier]


def _told(plan: DepthPlan, number: int) -> dict[str, Any]:
    from lwa_core.pipeline.export import removed_layers

    kept = plan.tiers[number]
    return {"tier": number, "kept": list(kept), "removed": removed_layers(kept, plan.depth)}
