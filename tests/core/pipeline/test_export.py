"""A plan in the words of other tools says the same layers."""

import json
import re
from itertools import pairwise
from pathlib import Path

import example_run
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.cli import main
from lwa_core.errors import LwaError, StoreError
from lwa_core.pipeline.export import as_llama_cpp, as_mergekit, as_text, read_plan, stretches, teacher_of

KEPT = st.sets(st.integers(0, 30), min_size=1).map(sorted)


def lwa(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


@pytest.fixture
def run(tmp_path):
    """A finished run of 8 layers with the tiers (0, 2, 5, 7) and (0, 7)."""
    example_run.write_run(tmp_path)
    teacher = tmp_path / "models" / "teacher"
    teacher.mkdir(parents=True)
    (teacher / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    return tmp_path


@pytest.fixture
def run_of_one_tier(run):
    told = example_run.metrics()
    told["plan"]["tiers"] = [[0, 1, 2, 4, 5, 6]]
    return example_run.write_run(run, told)


@given(KEPT)
def test_stretches_are_half_open_and_as_few_as_can_be(kept):
    found = stretches(kept)

    assert [layer for first, end in found for layer in range(first, end)] == kept
    assert all(end < following for (_, end), (following, _) in pairwise(found))


@given(KEPT, st.text())
def test_mergekit_reads_the_same_layers_of_the_same_model(kept, model):
    yaml = pytest.importorskip("yaml")

    told = yaml.safe_load(as_mergekit(kept, model, "float16"))

    assert {"merge_method": "passthrough", "dtype": "float16"} == {k: v for k, v in told.items() if k != "slices"}
    sources = [source for piece in told["slices"] for source in piece["sources"]]
    assert {model} == {source["model"] for source in sources}
    assert kept == [layer for source in sources for layer in range(*source["layer_range"])]
    assert len(told["slices"]) == len(sources) == 1 + sum(b - a > 1 for a, b in pairwise(kept))


def test_mergekit_is_written_as_its_documents_show_it():
    expected = """\
slices:
- sources:
  - model: "teacher"
    layer_range: [0, 2]
- sources:
  - model: "teacher"
    layer_range: [5, 6]
merge_method: passthrough
dtype: bfloat16
"""
    assert expected == as_mergekit((0, 1, 5), "teacher", "bfloat16")


def test_the_guide_shows_what_is_written():
    guide = (Path(__file__).parents[3] / "docs" / "guide.md").read_text("utf-8")
    model = "lwa-runs/runs/movies-1a2b3c4d/models/teacher"

    assert f"```yaml\n{as_mergekit((0, 1, 2, 4, 5, 6), model, 'float32')}```" in guide
    assert f"`{as_text((0, 1, 2, 4, 5, 6), 8)}`" in guide


def test_a_model_without_layers_is_not_written():
    with pytest.raises(LwaError, match="keeps no layer"):
        as_mergekit((), "teacher", "float32")


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ((0, 1, 2, 4, 5, 6), "remove layers 3, 7 (0-based)"),
        ((0, 1, 2, 3, 4, 5, 6), "remove layer 7 (0-based)"),
        (range(8), "remove no layer"),
    ],
)
def test_text(kept, expected):
    assert expected == as_text(kept, 8)


@given(KEPT)
def test_text_names_the_layers_that_are_not_kept(kept):
    named = [int(number) for number in re.findall(r"\d+(?=[, ])", as_text(kept, 31))]

    assert sorted([*named, *kept]) == list(range(31))


def test_the_plan_of_a_run(run):
    assert (8, ((0, 2, 5, 7), (0, 7))) == (read_plan(run).depth, read_plan(run).tiers)


def test_the_precision_is_the_teachers(run):
    assert (run / "models" / "teacher", "bfloat16") == teacher_of(run)
    (run / "models" / "teacher" / "config.json").write_text("{}")
    assert "float32" == teacher_of(run)[1]


def test_text_from_the_command_line(run, run_of_one_tier):
    assert (0, "remove layers 3, 7 (0-based)\n", "") == (
        (done := lwa(run_of_one_tier)).exit_code,
        done.stdout,
        done.stderr,
    )


def test_every_tier_from_the_command_line(run):
    expected = "tier 0: remove layers 1, 3, 4, 6 (0-based)\ntier 1: remove layers 1, 2, 3, 4, 5, 6 (0-based)\n"

    assert expected == lwa(run).stdout
    assert expected.splitlines()[1] + "\n" == lwa(run, "--tier", 1).stdout


def test_mergekit_from_the_command_line(run):
    done = lwa(run, "--as", "mergekit", "--tier", 1)
    assert as_mergekit((0, 7), str(run / "models" / "teacher"), "bfloat16") == done.stdout

    other = lwa(run, "--as", "mergekit", "--tier", 1, "--model", "org/name", "--dtype", "float16")
    assert as_mergekit((0, 7), "org/name", "float16") == other.stdout


def test_mergekit_needs_no_teacher_where_all_is_said(run):
    (run / "models" / "teacher" / "config.json").unlink()

    assert 0 == lwa(run, "--as", "mergekit", "--tier", 0, "--model", "org/name", "--dtype", "float16").exit_code
    assert StoreError.exit_code == lwa(run, "--as", "mergekit", "--tier", 0).exit_code


def test_json(run):
    told = json.loads(lwa(run, "--tier", 0, "--json").stdout)

    assert {
        "folder": str(run),
        "depth": 8,
        "tiers": [{"tier": 0, "kept": [0, 2, 5, 7], "removed": [1, 3, 4, 6]}],
    } == told
    assert 2 == len(json.loads(lwa(run, "--json").stdout)["tiers"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tier", 2), "no tier 2; its tiers are 0 to 1"),
        (("--as", "mergekit"), "give --tier"),
        (("--dtype", "float16"), "are for --as mergekit"),
    ],
)
def test_what_cannot_be_exported(run, arguments, said):
    done = lwa(run, *arguments)

    assert (2, "") == (done.exit_code, done.stdout)
    assert said in done.stderr


def test_a_folder_that_is_no_run(tmp_path):
    done = lwa(tmp_path)

    assert (StoreError.exit_code, "") == (done.exit_code, done.stdout)
    assert "is not the folder of a finished run" in done.stderr


def test_a_run_that_selected_nothing_has_no_plan(tmp_path):
    (tmp_path / "metrics.json").write_text('{"plan": null}', "utf-8")
    with pytest.raises(StoreError, match="selected no layers"):
        read_plan(tmp_path)


@given(KEPT, st.integers(1, 5))
def test_llama_cpp_is_told_the_layers_that_go(kept, more):
    depth = max(kept) + more
    if len(kept) == depth:
        with pytest.raises(LwaError, match="all layers"):
            as_llama_cpp(kept, depth)
        return
    (gone,) = re.fullmatch(
        r"llama-quantize --prune-layers ([0-9,]+) \S+ \S+ COPY\n", as_llama_cpp(kept, depth)
    ).groups()
    assert sorted([*kept, *map(int, gone.split(","))]) == list(range(depth))


def test_the_command_writes_a_line_for_each_tier(run):
    told = lwa(run, "--as", "llama.cpp")
    assert told.exit_code == 0, told.output
    assert [line.split()[2] for line in told.stdout.splitlines()] == ["1,3,4,6", "1,2,3,4,5,6"]
