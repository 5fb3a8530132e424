"""`lwa score`: how much each layer of a language model or text classifier matters, on texts of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import block_option, example, json_option, print_json

if TYPE_CHECKING:
    from lwa_core.cli._progress import Progress
    from lwa_core.pipeline.scoring import Scored
    from lwa_core.recipe.recipe import Use
    from lwa_core.text.reading import Text

EPILOG = """
  lwa score --model models/smollm --data texts.jsonl
  lwa score --model models/bert-sst2 --data reviews.csv --scorer shapley --set shapley.pairs=64 --json
  lwa score --model models/smollm --data texts.jsonl --keep 20 --save models/smollm-20
"""

SCORERS = ("leave-one-out", "block-influence")
FILE = click.Path(path_type=Path)
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
    type=click.Choice(["causal", "masked", "classify"]),
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
@block_option
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
    block: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score the layers of a language model or text classifier of transformers.

    A causal language model is asked for the token that follows a text cut at random, a masked one for a token masked at
    random, a classifier for the label. Only local files are read, no remote code is run, and weights must be
    safetensors.
    """
    if save is not None and keep is None:
        raise click.UsageError("--save needs --keep")

    from lwa_core.cli._progress import Progress
    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.text.examples import make_examples
    from lwa_core.text.reading import read_texts
    from lwa_core.text.scoring import assert_free, best, read_scorers, save_cut, score_layers
    from lwa_core.text.subject import load_text_model, task_of

    uses = read_scorers(scorers, settings, block)
    if save is not None:
        assert_free(save)
    task = task or task_of(model)
    texts = _some(read_texts(data, text_column, label_column if task == "classify" else None), examples, seed)
    asked = load_text_model(model, task, note=lambda said: click.echo(said, err=True))
    made = make_examples(asked, texts, data, length=length, cuts=cuts, seed=seed)
    asked.check(made.histories[:batch])
    layered = LayeredModel(asked.model)
    with Progress() as progress:
        how = {"batch": batch, "seed": seed, "training_targets": training_targets}
        scored = score_layers(uses, asked, layered, made, _Reporter(progress), **how)
    told: dict[str, Any] = {
        "model": str(model),
        "class": type(asked.model).__name__,
        "task": task,
        "layers": layered.path,
        "depth": layered.depth,
        "texts": made.texts,
        "examples": len(made.groups),
        "seed": seed,
        "scorers": [_told(use, scored[use.name]) for use in uses],
    }
    if keep is not None:
        kept = best(scored[uses[0].name].scores, keep)
        told |= {"kept": list(kept), "by": uses[0].name}
        if save is not None:
            save_cut(layered, kept, asked, save)
            told["saved"] = str(save)
    if as_json:
        print_json(told)
    else:
        _print(told)


class _Reporter:
    """Shows progress as a run does."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def _send(self, kind: str, message: str, **data: Any) -> None:
        from lwa_core.types import Event, RunContext

        self._progress(Event(kind, "score", message, data), RunContext("score", Path()))

    def progress(self, done: int, total: int, message: str = "") -> None:
        self._send("progress", message, done=done, total=total)

    def warn(self, code: str, message: str) -> None:
        self._send("warning", message, code=code)

    def note(self, message: str) -> None:
        self._send("message", message)


def _some(texts: list[Text], count: int, seed: int) -> list[Text]:
    """At most `count` of the texts, drawn with the seed, in their order."""
    if len(texts) <= count:
        return texts
    from random import Random

    return [texts[place] for place in sorted(Random(seed).sample(range(len(texts)), count))]


def _told(use: Use, scored: Scored) -> dict[str, Any]:
    """A scorer's result, JSON-ready; layers from the least to the most important."""
    scores = scored.scores
    error, stability = scores.standard_error, scores.stability()
    return {
        "name": use.name,
        "settings": dict(use.settings),
        "unit": scores.unit,
        "mean": scores.mean.tolist(),
        "standard_error": None if error is None else error.tolist(),
        "samples": scores.count,
        "order": scores.order(),
        "stability": stability,
        "passes": scored.passes,
        "facts": dict(scores.facts),
    }


def _print(told: dict[str, Any]) -> None:
    from lwa_core.cli._table import print_table

    click.echo(f"{told['class']} ({told['task']}): {told['depth']} layers, {told['layers']}")
    of = f" of {told['texts']} texts" if told["examples"] != told["texts"] else ""
    click.echo(f"{told['examples']} examples{of}; mean ± standard error, higher: keep; # 1 is the layer to go first\n")
    heads, columns = ["layer"], [[str(layer) for layer in range(told["depth"])]]
    for each in told["scorers"]:
        heads += [each["name"] + (f" [{each['unit']}]" if each["unit"] else ""), "#"]
        errors = each["standard_error"] or [None] * told["depth"]
        columns.append([_figure(mean, error) for mean, error in zip(each["mean"], errors, strict=True)])
        columns.append([str(each["order"].index(layer) + 1) for layer in range(told["depth"])])
    print_table(heads, [list(row) for row in zip(*columns, strict=True)])
    click.echo()
    for each in told["scorers"]:
        rows = f"{each['samples']} sample{'s' if each['samples'] > 1 else ''}, {each['passes']:.3g} passes"
        stable = "" if each["stability"] is None else f", stability {each['stability']:.2f}"
        click.echo(f"{each['name']}: {rows}{stable}")
        for name, value in each["facts"].items():
            text = json.dumps(value)
            click.echo(f"  {name} = {text if len(text) <= LONGEST_FACT else '… (see --json)'}")
    if "kept" in told:
        click.echo(f"keep layers {', '.join(map(str, told['kept']))} (0-based), by {told['by']}")
    if "saved" in told:
        click.echo(f"saved: {told['saved']}")


def _figure(mean: float, error: float | None) -> str:
    return f"{mean:.4g}" if error is None else f"{mean:.4g} ± {error:.2g}"
