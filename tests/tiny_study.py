"""Studies that run in seconds: an untrained recommender, so that what is tested is the study."""

from pathlib import Path

RECIPE = """\
name = "tiny"

[data]
use = "synthetic"
users = 120
items = 300
mean_length = 12

[recommender]
use = "transitions"

[evaluate]
bootstrap = 200
requests = 5
memory = false
"""

STUDY = """\
name = "small"
recipe = "tiny.toml"
seeds = [0]

[[vary]]
key = "data.mean_length"
values = [8, 16]
"""


def write(folder: Path, study: str = STUDY, recipe: str = RECIPE) -> Path:
    """The files of a study; gives that of the study."""
    (folder / "tiny.toml").write_text(recipe, encoding="utf-8")
    file = folder / "study.toml"
    file.write_text(study, encoding="utf-8")
    return file
