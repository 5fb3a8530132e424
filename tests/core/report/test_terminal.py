import io

import example_run
from rich.console import Console

from lwa_core.cli._table import plain_lines, rich_table
from lwa_core.report.terminal import cost_table, result_table


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

    assert ["distill-4", "4", "0.0975", "97.5 % [93.5, 101.5]"] == cells_of(text, "distill-4")
    assert {model["name"] for model in example_run.METRICS["models"]} <= set(text.split())


def test_it_fits_a_plain_terminal():
    assert shown(example_run.METRICS, example_run.PERFORMANCE, width=160).split() == (
        shown(example_run.METRICS, example_run.PERFORMANCE, width=80).split()
    )


def test_what_was_not_measured_is_a_dash():
    costs = cost_table(example_run.results(example_run.METRICS))

    assert ["teacher", "8", "0.1000", "-"] == cells_of(shown(example_run.METRICS, None), "teacher")
    assert ["teacher", "2.4 MB", "-", "-", "-"] == list(costs.rows[0])
    assert "" == costs.note


def test_the_caption_says_what_the_brackets_hold():
    assert "[low, high]: 95 % interval over the test users" in shown(example_run.METRICS, None)


def test_costs_come_with_the_intervals_of_their_ratios():
    table = cost_table(example_run.results(example_run.METRICS, example_run.PERFORMANCE))

    assert ("model", "memory", "p50", "network", "time") == table.columns
    assert ["teacher", "2.4 MB", "4 ms", "2.4 ms", "-"] == list(table.rows[0])
    assert ["distill-4", "1.5 MB", "2.19 ms", "1.31 ms", "0.55 [0.53, 0.57]"] == list(table.rows[2])
    assert ["teacher", *["student"] * 5] == table.kinds


def test_unreliable_times_have_no_ratio_but_a_reason():
    measured = example_run.performance()
    measured["latency"]["unreliable"] = ["the load of the machine was 8.3 on 2 processors"]

    table = cost_table(example_run.results(example_run.METRICS, measured))

    assert ["-", *["unreliable"] * 5] == [row[-1] for row in table.rows]
    assert "timing unreliable: the load of the machine was 8.3 on 2 processors" in table.note


def test_a_healed_student_without_a_control_is_said_to_have_none():
    told = example_run.metrics()
    told["models"][2]["healed"] = True

    assert "distill-4: not compared with the teacher trained as much longer" in shown(told, None)
    assert "not compared" not in shown(example_run.METRICS, None)


def test_the_share_of_the_control_is_shown():
    text = shown(example_run.controlled(example_run.metrics()), None)

    assert ["distill-4", "4", "0.0975", "97.5 % [93.5, 101.5]", "93.0 % [89.0, 97.0]"] == cells_of(text, "distill-4")
    assert "of control: of teacher+distill, the teacher trained for as long as a student" in text
    assert "qlora-4: not compared with the teacher trained as much longer" in text


def test_a_share_without_an_interval_says_so():
    told = example_run.metrics()
    for model in told["models"][1:]:
        model["kept"]["ndcg@10"] = {"mean": 1.0, "low": None, "high": None, "units": 2}

    text = shown(told, None)

    assert ["distill-4", "4", "0.0975", "100.0 % (no interval)"] == cells_of(text, "distill-4")
    assert "no interval: 2 users: nothing is shown of how far others could move such a share" in text


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
