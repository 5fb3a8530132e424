"""`lwa score`: how much each layer of a language model, classifier or encoder matters, on texts of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import block_option, example, json_option, store_option
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import echo, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lwa_core.pipeline.plan import Plan
    from lwa_core.recipe.recipe import Recipe, Use
    from lwa_core.types import LayerScores

EPILOG = """
  lwa score --model models/smollm --data texts.jsonl
  lwa score --model models/bert-sst2 --data reviews.csv --scorer shapley --set shapley.pairs=64 --json
  lwa score --model models/smollm --data texts.jsonl --keep 20 --save models/smollm-20
"""

SCORERS = ("leave-one-out", "block-influence")
FILE = FilePath()
LONGEST_FACT = 100
"""Characters of a fact that still goes under the table; `--json` has all."""


@click.command(epilog=example(EPILOG))
@click.option("--model", required=True, type=FILE, help="Folder with config.json, safetensors and tokenizer.")
@click.option("--data", required=True, type=FILE, help="Texts: JSON lines (.jsonl), or a table with a header (.csv).")
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    default=SCORERS,
    show_default=True,
    metavar="NAME",
    help="A scorer, as in recipes; may be repeated.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SCORER.KEY=VALUE",
    help="Change a setting of a scorer, for example shapley.pairs=64; may be repeated.",
)
@click.option(
    "--task",
    type=click.Choice(["causal", "masked", "classify", "encode"]),
    help="What the model is asked for.  [default: what config.json says it was made for]",
)
@click.option("--text-column", default="text", show_default=True, metavar="NAME", help="Key or column of the texts.")
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="Key or column of the labels.")
@click.option("--examples", type=click.IntRange(2), default=1024, show_default=True, help="At most so many texts.")
@click.option("--cuts", type=click.IntRange(1), default=1, show_default=True, help="Tokens asked for in each text.")
@click.option("--length", type=click.IntRange(2), default=128, show_default=True, help="Longest text, in tokens.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Examples in one micro-batch.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--training-targets",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="How many tokens or labels the model was trained on; `laplace` needs it.",
)
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Name the N best layers by the first scorer.")
@click.option("--save", type=FILE, metavar="FOLDER", help="Save the model with just the layers that --keep names.")
@click.option("--device", default="auto", show_default=True, help="Where it runs: auto, cpu, cuda, cuda:1 …")
@click.option("--recipe", "as_recipe", is_flag=True, help="Print the recipe that this stands for, and run nothing.")
@block_option
@store_option
@json_option
def command(
    *,
    model: Path,
    data: Path,
    scorers: tuple[str, ...],
    settings: tuple[str, ...],
    task: str | None,
    text_column: str,
    label_column: str,
    examples: int,
    cuts: int,
    length: int,
    batch: int,
    seed: int,
    training_targets: int,
    keep: int | None,
    save: Path | None,
    device: str,
    as_recipe: bool,
    block: tuple[str, ...],
    store: Path,
    as_json: bool,
) -> None:
    """Score the layers of a language model, text classifier or text encoder of transformers.

    A short form of a recipe with task = "text" that only scores; a whole one also cuts, heals and measures on texts
    that are held out. A causal language model is asked for the token that follows a text cut at random, a masked one
    for a token masked at random, a classifier for the label, an encoder for the text itself among all others. Only
    local files are read, no remote code is run, and weights must be safetensors.
    """
    if save is not None and keep is None:
        raise click.UsageError("--save needs --keep")
    if save is not None:
        _assert_free(save)
    document = {
        "name": "score",
        "task": "text",
        "seed": seed,
        "device": device,
        "precision": _precision(model),
        "texts": {
            "path": str(data),
            "text": text_column,
            "label": label_column,
            "length": length,
            "cuts": cuts,
            "validation": 0.0,
            "calibration": 1.0,
            "test": 0.0,
        },
        "model": {"path": str(model), "training_targets": training_targets, **({"ask": task} if task else {})},
        "score": [{"use": name} for name in dict.fromkeys(scorers)],
        "calibration": {"examples": examples, "batch": batch},
        "evaluate": {"requests": 0, "memory": False},
    }
    recipe = _read(document, settings, block)
    if as_recipe:
        echo(recipe.text, nl=False)
        return

    from lwa_core.cli._progress import Progress
    from lwa_core.modeling.devices import use_device
    from lwa_core.pipeline.events import Bus
    from lwa_core.pipeline.graph import Run
    from lwa_core.pipeline.plan import make_plan
    from lwa_core.pipeline.run import assert_able
    from lwa_core.pipeline.smoke_test import try_first
    from lwa_core.store.results import Store
    from lwa_core.types import RunContext

    assert_able(recipe)
    opened = Store(store)
    with use_device(device):
        with Progress() as progress:
            plan = make_plan(recipe)
            run = Run(recipe, opened, Bus(recipe.registry, RunContext(recipe.name, store), [progress]))
            _assert_deep_enough(keep, run.value(plan.teacher).live.layered.depth)
            stages = [plan.data, plan.teacher, *plan.scores]
            try_first(run, plan.smoke, stages)
            run.walk(stages)
        live: Any = run.value(plan.teacher).live
        scores = {stage.use.name: run.value(stage).scores for stage in plan.scores if stage.use is not None}
        told = _told_of(recipe, plan, live, scores, run.value(plan.data))
        if keep is not None:
            kept = _best(scores[recipe.scorers[0].name], keep)
            told |= {"kept": list(kept), "by": recipe.scorers[0].name}
            if save is not None:
                _save_cut(live, kept, save)
                told["saved"] = str(save)
    if as_json:
        print_json(told)
    else:
        _print(told)


def _read(document: dict[str, Any], settings: Sequence[str], block: Sequence[str]) -> Recipe:
    """The recipe that the options stand for. Raises RecipeError in the words of the command line."""
    import attrs
    import tomli_w

    from lwa_core.errors import Problem, RecipeError
    from lwa_core.recipe.locate import render
    from lwa_core.recipe.reader import Reader

    reader = Reader(Path.cwd() / "score.toml", document, block, False)
    recipe, problems = reader.read("", [f"score.{text}" for text in settings])

    def as_typed(problem: Problem) -> Problem:
        if problem.code == "nothing-to-combine":
            return attrs.evolve(
                problem, message="there is no other scorer to combine", hint="add --scorer leave-one-out"
            )
        if problem.code == "bad-override":
            return attrs.evolve(problem, file=None, hint="write --set scorer.key=value, for example shapley.pairs=64")
        return problem

    if recipe is None:
        problems = [as_typed(problem) for problem in problems]
        raise RecipeError(render(problems), problems)
    return attrs.evolve(recipe, file=None, text=tomli_w.dumps(document))


def _precision(folder: Path) -> str:
    """That of the model's files, as far as recipes know it."""
    from lwa_core.json_text import parse_json

    try:
        said = parse_json((folder / "config.json").read_bytes())
        return "bfloat16" if "bfloat16" in (said.get("dtype"), said.get("torch_dtype")) else "float32"
    except (OSError, ValueError, AttributeError):
        return "float32"  # what is wrong with the folder is said when it is loaded


def _assert_free(folder: Path) -> None:
    """Raise StoreError where something lies where a model is to be saved."""
    from lwa_core.errors import StoreError
    from lwa_core.store.places import assert_writable
    from lwa_core.store.refusals import explained

    assert_writable(folder.parent)
    hint = "name a folder that is not there yet"
    with explained(folder):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise StoreError(f"{folder} is there already, and is no folder", hint)
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty", hint)


def _assert_deep_enough(keep: int | None, depth: int) -> None:
    """Raise LwaError where a model has fewer layers than are to be kept."""
    from lwa_core.errors import LwaError

    if keep is not None and keep > depth:
        raise LwaError(f"cannot keep {keep} of {depth} layers", "lower --keep")


def _best(scores: LayerScores, keep: int) -> tuple[int, ...]:
    """The layers with the highest scores, in their order."""
    return tuple(sorted(scores.order()[scores.depth - keep :]))


def _save_cut(live: Any, kept: Sequence[int], folder: Path) -> None:
    """Save the model with just these layers, and its tokenizer: plain `from_pretrained` loads both.

    The folder is seen only once all is in it.
    """
    import os
    import shutil

    from lwa_core.modeling.files.saving import save_model
    from lwa_core.store.files import beside
    from lwa_core.store.refusals import explained
    from lwa_core.store.sealing import adopt_mode

    student, folder = live.layered.keep(kept), folder.absolute()
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = beside(folder)
        temporary.mkdir()
        try:
            save_model(student.model, temporary)
            live.subject.tokenizer.save_pretrained(temporary)
            for file in temporary.iterdir():
                adopt_mode(file, temporary / "config.json")
            os.replace(temporary, folder)  # over an empty folder at most
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _told_of(recipe: Recipe, plan: Plan, live: Any, scores: dict[str, LayerScores], data: Any) -> dict[str, Any]:
    """What the command prints, JSON-ready."""
    model, calibration = recipe.parts["model"], recipe.calibration
    histories, _ = plan.task.calibration(data, live)
    return {
        "model": str(model.path),
        "class": type(live.subject.model).__name__,
        "task": live.subject.task,
        "layers": live.layered.path,
        "depth": live.layered.depth,
        "texts": min(calibration.examples, len(data["calibration"])),
        "examples": len(histories),
        "seed": recipe.seed,
        "scorers": [_scorer(use, scores[use.name]) for use in recipe.scorers],
    }


def _scorer(use: Use, scores: LayerScores) -> dict[str, Any]:
    """A scorer's result, JSON-ready; layers from the least to the most important."""
    error, stability = scores.standard_error, scores.stability()
    facts = {name: value for name, value in scores.facts.items() if name != "passes"}
    return {
        "name": use.name,
        "settings": dict(use.settings),
        "unit": scores.unit,
        "mean": scores.mean.tolist(),
        "standard_error": None if error is None else error.tolist(),
        "samples": scores.count,
        "order": scores.order(),
        "stability": stability,
        "passes": scores.facts["passes"],
        "facts": facts,
    }


def _print(told: dict[str, Any]) -> None:
    from lwa_core.cli._table import print_table
    from lwa_core.results.warnings import FEW_CALIBRATION

    say(f"{told['class']} ({told['task']}): {told['depth']} layers, {told['layers']}")
    of = f" of {told['texts']} texts" if told["examples"] != told["texts"] else ""
    echo(f"{told['examples']} examples{of}; mean ± standard error, higher: keep; # 1 is the layer to go first\n")
    heads, columns = ["layer"], [[str(layer) for layer in range(told["depth"])]]
    for each in told["scorers"]:
        heads += [each["name"] + (f" [{each['unit']}]" if each["unit"] else ""), "#"]
        errors = each["standard_error"] or [None] * told["depth"]
        columns.append([_figure(mean, error) for mean, error in zip(each["mean"], errors, strict=True)])
        columns.append([str(each["order"].index(layer) + 1) for layer in range(told["depth"])])
    print_table(heads, [list(row) for row in zip(*columns, strict=True)])
    echo()
    if told["examples"] < FEW_CALIBRATION:
        said = f"only {told['examples']} examples: the order of the layers rests on so few"
        say(f"warning[few-calibration-examples]: {said}", err=True)
    for each in told["scorers"]:
        rows = f"{each['samples']} sample{'s' if each['samples'] > 1 else ''}, {each['passes']:.3g} passes"
        stable = "" if each["stability"] is None else f", stability {each['stability']:.2f}"
        say(f"{each['name']}: {rows}{stable}")
        for name, value in each["facts"].items():
            text = json.dumps(value)
            say(f"  {name} = {text if len(text) <= LONGEST_FACT else '… (see --json)'}")
    if "kept" in told:
        echo(f"keep layers {', '.join(map(str, told['kept']))} (0-based), by {told['by']}")
    if "saved" in told:
        say(f"saved: {told['saved']}")


def _figure(mean: float, error: float | None) -> str:
    return f"{mean:.4g}" if error is None else f"{mean:.4g} ± {error:.2g}"
