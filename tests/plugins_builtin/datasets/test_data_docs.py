"""docs/data.md says what is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_plugins import lwa_datasets
from lwa_plugins.datasets.synthetic import Synthetic

TEXT = (Path(__file__).parents[3] / "docs" / "data.md").read_text("utf-8")


def test_the_example_plugin_works(tmp_path):
    space = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL).group(1), space)
    (component,) = space["lwa_datasets"]()
    file = tmp_path / "playlists.txt"
    file.write_text("ann: p, q, r\nbob: q, r, p\n")

    dataset = component.target(path=str(file))
    data = prepare(dataset.read(), Filter(), Split(), 0)

    assert (("ann", "bob"), 6, [file]) == (data.user_ids, len(data.items), dataset.files())
    file.write_text("ann: p\nbob\n")
    with pytest.raises(DataError, match=r"playlists\.txt:2: no colon"):
        dataset.read()


def test_every_dataset_is_described():
    headings = {line.removeprefix("### ") for line in TEXT.splitlines() if line.startswith("### ")}

    assert {component.name for component in lwa_datasets()} <= headings


@pytest.mark.parametrize("by", ["leave-one-out", "time"])
def test_every_fact_is_described(by):
    facts = prepare(Synthetic(users=100).read(), Filter(), Split(by=by), 0).facts
    described = set(re.findall(r"`(\w+)`", TEXT[TEXT.index("### Facts") :]))

    assert set(facts) <= described
    assert set(facts["counts"]) | set(facts["sequence_lengths"]) | set(facts["order"]) <= described
    settings = {"by", "seed", "calibration", "validation", "test"}
    assert set(facts["split"]) - settings <= described


def test_loading_the_classes_imports_neither_polars_nor_torch():
    targets = [component.target for component in lwa_datasets()]
    code = (
        "import sys, importlib\n"
        f"for target in {targets}:\n"
        "    module, _, name = target.partition(':')\n"
        "    getattr(importlib.import_module(module), name)\n"
        "print(sorted({'torch', 'polars', 'pandas', 'safetensors'} & set(sys.modules)))"
    )

    assert (
        "[]" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )
