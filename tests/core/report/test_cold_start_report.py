"""The part of the report on test targets that occur in nobody's training part."""

import io

import example_run
import pytest
from rich.console import Console

from lwa_core.cli._table import rich_table
from lwa_core.report import cold_start, write_report
from lwa_core.report.terminal import result_tables


def metrics():
    told = example_run.metrics()
    figures = {
        model["name"]: {
            "ndcg@10": {"mean": 0.0123 + place / 100, "low": 0.01, "high": 0.09},
            "recall@10": {"mean": 0.0345 + place / 100, "low": 0.02, "high": 0.1},
        }
        for place, model in enumerate(told["models"])
    }
    told["cold_start"] = {"examples": 1234, "of": 6040, "items": 77, "models": figures}
    return told


def report(folder, told):
    return [path.read_text("utf-8") for path in write_report(example_run.write_run(folder, told))]


def terminal(told, width):
    file = io.StringIO()
    for table in result_tables(example_run.results(told, example_run.PERFORMANCE)):
        print(table.title, file=file)
        drawn = rich_table(table.columns, table.rows, figures=True, groups=table.kinds)
        Console(file=file, width=width).print(drawn)
    return file.getvalue()


def test_every_figure_is_in_the_report(tmp_path):
    for text in report(tmp_path, metrics()):
        assert "Cold start" in text
        assert "1,234 of 6,040 test targets (20.4" in text
        assert "77 different items" in text
        for figures in metrics()["cold_start"]["models"].values():
            for name in ("ndcg@10", "recall@10"):
                assert f"{figures[name]['mean']:.4f} ({figures[name]['low']:.4f} to" in text


@pytest.mark.parametrize("width", [80, 160])
def test_every_figure_is_on_the_terminal(width):
    text = terminal(metrics(), width)

    assert "1,234 of 6,040 test targets" in " ".join(text.split())
    for name, figures in metrics()["cold_start"]["models"].items():
        (line,) = [
            line for line in text.splitlines() if name in line and f"{figures['recall@10']['mean']:.4f} (" in line
        ]
        assert f"{figures['ndcg@10']['mean']:.4f} (0.0100 to 0.0900)" in line


def test_nothing_is_said_where_there_is_none(tmp_path):
    told = {**example_run.metrics(), "cold_start": None}

    for text in [*report(tmp_path, told), terminal(told, 160)]:
        assert "cold start" not in text.lower()


def test_nothing_is_said_of_an_older_run():
    assert "cold_start" not in example_run.metrics()
    assert cold_start.told(example_run.results()) is None
    assert "cold start" not in terminal(example_run.metrics(), 160).lower()
