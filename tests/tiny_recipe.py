"""A recipe that runs in seconds, for tests of whole runs."""

from pathlib import Path

from lwa_core.pipeline.run import run_recipe
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.results import Store

TEXT = """\
name = "tiny"

[data]
use = "synthetic"
users = 120
items = 220
mean_length = 12

[recommender]
use = "sequential"
layers = 3
width = 16
max_length = 12
epochs = 3
batch = 32

[[score]]
use = "fisher"

[[score]]
use = "block-influence"

[[score]]
use = "leave-one-out"

[select]
use = "greedy"
keep = [2, 1]

[[compress]]
use = "drop"

[[compress]]
use = "distill"
epochs = 2
batch = 32

[evaluate]
bootstrap = 200
requests = 5
batch = 16
memory = false
"""


def write_recipe(folder: Path, text: str = TEXT) -> Path:
    file = folder / "tiny.toml"
    file.write_text(text, encoding="utf-8")
    return file


def run(folder: Path, store: Path, *overrides: str, text: str = TEXT, smoke_test: bool = False) -> tuple[Path, list]:
    """Run the recipe in this process. Gives the run folder and the events."""
    events = []
    recipe = load_recipe(write_recipe(folder, text), overrides)
    heard = [lambda event, run: events.append(event)]
    return run_recipe(recipe, Store(store), heard, smoke_test=smoke_test), events


def computed(events: list) -> list[str]:
    """The stages that ran, in order."""
    return [event.stage for event in events if event.kind == "stage-finished"]
