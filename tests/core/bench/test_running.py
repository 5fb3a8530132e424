"""What a benchmark says while its cells are measured, how it fails, and where it puts what it found."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lwa_core import Event, RunContext
from lwa_core.bench import running
from lwa_core.errors import DataError, LwaError, StoreError
from lwa_core.store.results import Store


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("stage-finished", "teacher", "", {"seconds": 2.4}), "cell: teacher (2 s)\n"),
        (
            Event("warning", "teacher", "best epoch is the last", {"code": "short"}),
            "cell: warning[short]: teacher: best epoch is the last\n",
        ),
        (Event("warning", None, "a plugin failed", {"code": "hook"}), "cell: warning[hook]: a plugin failed\n"),
        (Event("message", "data", "waiting for process 7", {}), "cell: data: waiting for process 7\n"),
        (Event("progress", "data", "", {"done": 1, "total": 2}), ""),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else "",
)
def test_a_cell_tells_stage_and_text(event, line, capfd):
    running.Told("cell")(event, RunContext("cell", Path()))

    assert line == capfd.readouterr().err


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([StoreError("no space left")], 7),
        ([StoreError("full"), DataError("no column")], 1),
        ([DataError("bad")] * 2, 5),
    ],
)
def test_the_other_cells_go_on_and_failures_of_one_class_keep_its_exit_code(monkeypatch, failures, code):
    outcomes = [*enumerate(failures), (len(failures), {"depth": 4})]
    monkeypatch.setattr(running, "in_processes", lambda *_: iter(outcomes))
    registry = SimpleNamespace(local_files=())
    recipe = SimpleNamespace(registry=registry)
    cells = [SimpleNamespace(title=f"cell {number}", recipe=recipe) for number, _ in outcomes]
    said = []

    with pytest.raises(LwaError, match=rf"{len(failures)} of {len(cells)} cells failed: cell 0: ") as caught:
        running.run_bench(
            SimpleNamespace(file="x", cells=cells, registry=registry), Store(Path("store")), say=said.append
        )

    assert code == caught.value.exit_code
    assert [f"cell {number}: failed: {error}" for number, error in enumerate(failures)] == said[:-1]
    assert f"cell {len(failures)}: done, 1 of {len(cells)}" == said[-1]


def test_results_never_take_a_name_that_something_has(tmp_path, monkeypatch):
    monkeypatch.setattr(running.time, "strftime", lambda _: "2026-01-01-000000")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "2026-01-01-000000-small.md").write_text("mine")
    (tmp_path / "2026-01-01-000000-small-2.json").symlink_to(tmp_path / "mine")
    (tmp_path / "2026-01-01-000000-small-3.md").symlink_to(tmp_path / "nothing")

    first, second = (running.save({"bench": "small", "n": n}, f"text {n}", tmp_path) for n in (1, 2))

    assert ["2026-01-01-000000-small-4.json", "2026-01-01-000000-small-5.json"] == [first.name, second.name]
    assert [1, 2] == [json.loads(file.read_text())["n"] for file in (first, second)]
    assert ["text 1", "text 2"] == [file.with_suffix(".md").read_text() for file in (first, second)]
    assert "mine" == (tmp_path / "mine").read_text() == (tmp_path / "2026-01-01-000000-small.md").read_text()
    assert not (tmp_path / "nothing").exists()
    assert not list(tmp_path.glob(".*"))
