import io

import example_run
from rich.console import Console

from lwa_core.cli._table import plain_lines, rich_table
from lwa_core.report.terminal import result_table


def shown(metrics, performance, width=160):
    table, file = result_table(example_run.results(metrics, performance)), io.StringIO()
    Console(file=file, width=width).print(rich_table(table.columns, table.rows, figures=True, groups=table.kinds))
    print(table.note, file=file)
    return file.getvalue()


def plain(metrics, performance):
    table = result_table(example_run.results(metrics, performance))
    return list(plain_lines(table.columns, table.rows, figures=True, groups=table.kinds))


def line_of(text, name):
    return next(line for line in text.splitlines() if name in line).split("  ")


def cells_of(text, name):
    return [cell.strip() for cell in line_of(text, name) if cell.strip()]


def test_every_model_has_its_line():
    text = shown(example_run.METRICS, example_run.PERFORMANCE)

    expected = ["distill-4", "4", "0.0975", "97.5 % [93.5, 101.5]", "1.5 MB", "2.19 ms", "0.55"]
    assert expected == cells_of(text, "distill-4")
    assert {model["name"] for model in example_run.METRICS["models"]} <= set(text.split())


def test_it_fits_a_plain_terminal():
    assert shown(example_run.METRICS, example_run.PERFORMANCE, width=160).split() == (
        shown(example_run.METRICS, example_run.PERFORMANCE, width=80).split()
    )


def test_what_was_not_measured_is_a_dash():
    assert ["teacher", "8", "0.1000", "-", "2.4 MB", "-", "-"] == cells_of(shown(example_run.METRICS, None), "teacher")


def test_the_caption_says_what_the_brackets_hold():
    assert "[low, high]: 95 % interval over the test users" in shown(example_run.METRICS, None)


def test_names_are_no_markup():
    metrics = example_run.metrics()
    metrics["models"][1]["name"] = "[red]drop[/red]"

    assert "[red]drop[/red]" in shown(metrics, None)


def test_a_pipe_gets_the_same_cells_in_aligned_columns():
    lines = plain(example_run.METRICS, example_run.PERFORMANCE)

    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for model in example_run.METRICS["models"]:
        drawn = cells_of(shown(example_run.METRICS, example_run.PERFORMANCE), model["name"])
        assert drawn == cells_of(text, model["name"])
    assert 2 == lines.count("")  # between teacher, students and baselines
    assert len({len(line) for line in lines if line}) == 1
