"""What a run writes fits its JSON Schema, reads back equal, and is refused where it is damaged."""

import inspect
import json

import attrs
import example_run
import pytest
from jsonschema import Draft202012Validator

from lwa_core.errors import StoreError
from lwa_core.results import schema
from lwa_core.results.as_json import from_json, metrics_schema, to_json
from lwa_core.results.reading import read_results
from lwa_core.results.schema import Metrics, Performance
from lwa_core.results.writing import write_metrics, write_performance

RUNS = {
    "recommendation": example_run.metrics(),
    "text": example_run.text_metrics(),
    "teacher": example_run.text_metrics(whole=False),
    "cold": example_run.metrics()
    | {"cold_start": {"examples": 3, "of": 9, "items": 2, "models": {"teacher": {"ndcg@10": example_run.figure(0.1)}}}},
}
CLASSES = [cls for _, cls in inspect.getmembers(schema, attrs.has)]


@pytest.fixture(scope="module")
def validator():
    Draft202012Validator.check_schema(metrics_schema())
    return Draft202012Validator(metrics_schema())


@pytest.mark.parametrize("name", RUNS)
def test_what_is_written_fits_the_schema_and_reads_back_equal(tmp_path, name, validator):
    metrics = from_json(RUNS[name], Metrics)

    write_metrics(tmp_path, metrics)

    assert [] == [error.message for error in validator.iter_errors(json.loads((tmp_path / "metrics.json").read_text()))]
    assert metrics == read_results(tmp_path).metrics


def test_nothing_of_what_was_read_is_lost():
    def within(small, large):
        if isinstance(small, dict):
            return all(key in large and within(value, large[key]) for key, value in small.items())
        if isinstance(small, list):
            return len(small) == len(large) and all(map(within, small, large))
        return small == large

    for told in RUNS.values():
        assert within(told, to_json(from_json(told, Metrics)))
    measured = example_run.performance()
    assert within(measured, to_json(from_json(measured, Performance)))


def test_equal_values_give_equal_bytes_and_none_is_null(tmp_path):
    metrics = from_json(RUNS["teacher"], Metrics)

    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_metrics(folder, metrics)

    text = (tmp_path / "a" / "metrics.json").read_bytes()
    assert text == (tmp_path / "b" / "metrics.json").read_bytes()
    assert b'"plan": null' in text
    assert list(json.loads(text)) == [field.name for field in attrs.fields(Metrics)]


def test_the_performance_is_written_with_the_stages(tmp_path):
    measured = example_run.performance()
    stages = measured.pop("stages")

    write_metrics(tmp_path, from_json(RUNS["recommendation"], Metrics))
    write_performance(tmp_path, measured, stages)

    assert from_json({**measured, "stages": stages}, Performance) == read_results(tmp_path).performance


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.pop("models"), "required field `models`"),
        (lambda told: told["models"][0].update(kind="pupil"), "pupil"),
        (lambda told: told["models"][0].update(depth="8"), r"Expected `int \| null`, got `str` - at `\$.models"),
        (lambda told: told["scores"][0].update(mean=[None]), r"at `\$.scores"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, change, said, validator):
    told = example_run.metrics()
    change(told)
    example_run.write_run(tmp_path, told)

    with pytest.raises(StoreError, match=said) as caught:
        read_results(tmp_path)

    assert str(tmp_path / "metrics.json") in caught.value.message
    assert list(validator.iter_errors(told))  # the schema refuses the same


def test_a_damaged_performance_is_named(tmp_path):
    example_run.write_run(tmp_path, measured={"memory": {"teacher": {"peak": "much"}}})

    with pytest.raises(StoreError, match=r"performance.json is damaged: .*peak"):
        read_results(tmp_path)


def test_every_field_is_described():
    told = metrics_schema()["$defs"]

    for name, definition in told.items():
        assert definition["description"], name
        for key, value in definition["properties"].items():
            assert value.get("description"), f"{name}.{key}"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_docstring_names_the_fields_in_their_order(cls):
    about = inspect.cleandoc(cls.__doc__).partition("Args:\n")[2].splitlines()

    named = [line.strip().partition(":")[0] for line in about if line.startswith("    ") and line[4] != " "]
    assert [field.name for field in attrs.fields(cls)] == named
