"""`lwa run`, `plan`, `report` and `recommend`: what they print, where, and how they end."""

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from tiny_recipe import TEXT, write_recipe

import lwa_core
from lwa_core import Event, ModelError, RunContext
from lwa_core.cli import _progress, main
from lwa_core.cli._progress import Progress
from lwa_core.results.as_json import to_json
from lwa_core.results.reading import read_results

STUDENTS = ["drop-2", "distill-2", "drop-1", "distill-1"]
YARDSTICKS = ["bigram", "item-knn", "popularity", "transitions"]


def lwa(*arguments, stdin=None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


class Tiny:
    """A recipe, its store, and the first run of it from the command line."""

    def __init__(self, base):
        self.recipe = write_recipe(base)
        self.store = base / "store"
        self.before = self("plan", "--json")
        self.done = self("run")
        (self.folder,) = (self.store / "runs").iterdir()

    def __call__(self, command, *arguments):
        return lwa(command, self.recipe, "--store", self.store, *arguments)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def ids(tiny):
    return lwa_core.load(tiny.folder).catalogue.ids


# run


def test_run_prints_the_table_and_where_the_report_lies(tiny):
    lines = tiny.done.stdout.splitlines()

    assert tiny.done.exit_code == 0
    for name in ["teacher", *STUDENTS, *YARDSTICKS]:
        assert [line for line in lines if line.split()[:1] == [name]]
    assert lines[-2:] == [f"report: {tiny.folder / 'report.html'}", f"report: {tiny.folder / 'report.md'}"]
    assert (tiny.folder / "report.html").is_file()


def test_run_tells_its_stages_on_stderr(tiny):
    assert f"run {tiny.folder}" in tiny.done.stderr
    for stage in ["teacher", "score fisher", "select", *STUDENTS, "rank teacher", "measure time and memory"]:
        assert f"\n{stage}: done in " in tiny.done.stderr
    assert "\x1b" not in tiny.done.stderr + tiny.done.stdout  # nobody looks at a terminal here


def test_run_with_json_has_nothing_else_on_stdout(tiny):
    done = tiny("run", "--json")

    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told == {
        "folder": str(tiny.folder),
        "metrics": json.loads((tiny.folder / "metrics.json").read_text()),
        "performance": json.loads((tiny.folder / "performance.json").read_text()),
    }
    assert f"report: {tiny.folder / 'report.html'}" in done.stderr


def test_what_a_run_leaves_fits_the_schema_and_reads_back_equal(tiny):
    written = json.loads((tiny.folder / "metrics.json").read_text())
    schema = json.loads(lwa("schema", "--of", "results").stdout)

    assert [] == [error.message for error in Draft202012Validator(schema).iter_errors(written)]
    assert written == to_json(read_results(tiny.folder).metrics)


def test_a_second_run_reuses_everything(tiny):
    done = tiny("run")

    assert done.exit_code == 0
    assert "teacher: stored already" in done.stderr
    assert "done in" not in done.stderr
    assert done.stdout == tiny.done.stdout


def test_a_stage_that_fails_is_named_with_its_line(tiny):
    done = tiny("run", "--no-smoke-test", "--set", "recommender.checkpoint=nowhere")

    assert done.exit_code == ModelError.exit_code
    assert done.stdout == ""
    line = TEXT.splitlines().index("[recommender]") + 1
    assert f"error[stage]: stage 'teacher' ({tiny.recipe}:{line}) failed: no model in " in done.stderr
    assert "the same command goes on from there" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_wrong_recipe_is_a_wrong_recipe(tiny, command):
    done = tiny(command, "--set", "select.keep=0", "--set", "recommender.storeys=3")

    assert (done.exit_code, done.stdout) == (3, "")
    assert "storeys" in done.stderr
    assert "keep" in done.stderr


@pytest.mark.parametrize("command", ["run", "plan", "report", "recommend"])
@pytest.mark.parametrize("arguments", [[], ["x", "y"], ["x", "--no-such-option"]])
def test_wrong_usage(command, arguments):
    done = lwa(command, *arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage:" in done.stderr


def test_a_store_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("")

    done = lwa("run", tiny.recipe, "--store", tmp_path / "file")

    assert (done.exit_code, done.stdout) == (7, "")
    assert "error[store]: cannot write" in done.stderr


# plan


def states(done):
    return {row["stage"]: row["state"] for row in json.loads(done.stdout)}


def test_plan_before_the_run(tiny):
    assert states(tiny.before) == {
        **dict.fromkeys(["data", "smoke test"], "stored"),  # both are made by the plan
        **dict.fromkeys(["teacher", "score fisher", "score block-influence", "score leave-one-out"], "to do"),
        "select": "to do",
        **dict.fromkeys(["drop, each tier", "distill, each tier", "rank students"], "after select"),
        "rank evenly spaced and random layers, as cut": "after select",
        **dict.fromkeys(["rank teacher", "tune transitions", "rank baselines"], "to do"),
        "measure time and memory": "after select",
    }


def test_plan_after_the_run(tiny):
    told = states(tiny("plan", "--json"))

    assert set(told.values()) == {"stored"}
    assert {"data", "teacher", *STUDENTS, *(f"rank {name}" for name in STUDENTS)} < told.keys()
    made = {line.split(": done in ")[0] for line in tiny.done.stderr.splitlines() if "done in" in line}
    assert set(told) == made | {"data", "smoke test"}
    assert not made & {"data", "smoke test"}


def test_plan_of_another_setting_says_what_is_left_to_do(tiny):
    told = states(tiny("plan", "--json", "--set", "compress.distill.temperature=4.0"))

    expected = {"distill-2", "distill-1", "rank distill-2", "rank distill-1", "measure time and memory"}
    assert {stage for stage, state in told.items() if state == "to do"} == expected


def test_plan_as_a_table(tiny):
    done = tiny("plan")

    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["stage", "component", "state", "key", "lacks"]
    assert ["teacher", "sequential", "stored"] in [row[:3] for row in rows]
    count = len(rows) - 1
    assert done.stderr.startswith(f"{count} of {count} stages are stored\n")


def test_plan_computes_nothing_where_nothing_is_to_be_tried(tiny, tmp_path):
    done = lwa("plan", tiny.recipe, "--store", tmp_path / "store", "--no-smoke-test", "--json")

    assert {"to do", "after select"} == set(states(done).values())
    assert not (tmp_path / "store").exists()


def test_plan_shows_the_stages_and_then_what_would_stop_them(tiny):
    broken = ("recommender.checkpoint=nowhere", "recommender.epochs=0")
    done = tiny("plan", "--json", *(part for value in broken for part in ("--set", value)))

    line = TEXT.splitlines().index("[recommender]") + 1
    assert (ModelError.exit_code, "to do") == (done.exit_code, states(done)["smoke test"])
    assert f"error[stage]: smoke test ({tiny.recipe}:{line}): recommender 'sequential' of plugin" in done.stderr
    assert "nowhere: config.json is missing" in done.stderr


# report


def test_report_is_written_again_with_the_same_bytes(tiny):
    written = {name: (tiny.folder / name).read_bytes() for name in ("report.html", "report.md")}
    for name in written:
        (tiny.folder / name).unlink()

    done = lwa("report", tiny.folder)

    assert done.exit_code == 0
    assert {name: (tiny.folder / name).read_bytes() for name in written} == written
    assert done.stdout == tiny.done.stdout


def test_report_as_json(tiny):
    told = json.loads(lwa("report", tiny.folder, "--json").stdout)

    assert told["folder"] == str(tiny.folder)
    assert [model["name"] for model in told["metrics"]["models"]] == ["teacher", *STUDENTS, *YARDSTICKS]


def test_report_without_what_was_timed(tiny, tmp_path):
    (tmp_path / "metrics.json").write_bytes((tiny.folder / "metrics.json").read_bytes())

    done = lwa("report", tmp_path)

    assert done.exit_code == 0
    assert json.loads(lwa("report", tmp_path, "--json").stdout)["performance"] is None


def test_report_of_something_else(tmp_path):
    done = lwa("report", tmp_path)

    assert (done.exit_code, done.stdout) == (7, "")
    assert f"error[store]: {tmp_path} is not the folder of a finished run" in done.stderr


# What a teacher has to beat


def test_plan_says_what_the_untrained_table_reaches_once_it_is_tuned(tiny):
    before = lwa("plan", tiny.recipe, "--store", tiny.store.parent / "empty", "--no-smoke-test")
    after = tiny("plan")

    fitted = json.loads((tiny.folder / "metrics.json").read_text("utf-8"))["models"]
    (told,) = (model["fitted"] for model in fitted if model["name"] == "transitions")
    assert "transitions reaches" not in before.stderr
    assert f"transitions reaches NDCG@{told['k']} {told['validation_ndcg']:.4f}" in after.stderr


# recommend


def test_recommend_for_one_history(tiny, ids):
    done = lwa("recommend", tiny.folder, "--history", f"{ids[3]}, {ids[4]}", "-k", 4)

    expected = lwa_core.load(tiny.folder).recommend([ids[3], ids[4]], 4)
    rows = [line.split()[:3] for line in done.stdout.splitlines()]
    assert rows[0] == ["rank", "item", "score"]
    scored = zip(expected.items, expected.scores, strict=True)
    assert rows[1:] == [[str(n), item, f"{score:.4f}"] for n, (item, score) in enumerate(scored, 1)]
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("model", [None, "teacher", "drop-2"])
def test_recommend_as_json(tiny, ids, model):
    chosen = [] if model is None else ["--model", model]

    done = lwa("recommend", tiny.folder, "--history", json.dumps([ids[3], "new"]), "--json", *chosen)

    expected = lwa_core.load(tiny.folder, model).recommend([ids[3]])
    told = json.loads(done.stdout)
    assert told == {"items": list(expected.items), "scores": list(expected.scores), "unknown": ["new"], "known": 1}


def test_recommend_for_a_user_of_the_run(tiny):
    done = lwa("recommend", tiny.folder, "--user", "7", "--json")

    expected = lwa_core.load(tiny.folder).recommend(user="7")
    assert 0 == done.exit_code, done.stderr
    assert list(expected.items) == json.loads(done.stdout)["items"]


def test_recommend_for_lines_of_users_and_histories(tiny, ids):
    lines = [{"user": "7", "id": 1}, {"history": [ids[3]], "user": "nobody"}, {"user": "nobody"}, {"user": 8}]

    done = lwa("recommend", tiny.folder, "--input", "-", stdin="\n".join(map(json.dumps, lines)))

    ranker = lwa_core.load(tiny.folder)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = [ranker.recommend(user="7"), ranker.recommend([ids[3]]), None, ranker.recommend(user="8")]
    assert [answer and list(answer.items) for answer in wanted] == [answer.get("items") for answer in answers]
    assert "the data has no user 'nobody'" in answers[2]["error"]
    assert (1, "nobody") == (answers[0]["id"], answers[1]["user"])
    assert "stdin:3: the data has no user 'nobody'" in done.stderr


def test_recommend_tells_of_unknown_ids(tiny, ids):
    done = lwa("recommend", tiny.folder, "--history", f"new,{ids[3]},newer")

    assert (done.exit_code, done.stderr) == (0, "unknown to the model, left out: new, newer\n")


def test_recommend_after_nothing(tiny):
    done = lwa("recommend", tiny.folder, "--history", "", "-k", 3)

    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 4)
    assert "nothing of the history is known" in done.stderr


def lines_of(ids):
    return [
        json.dumps([ids[3], ids[4]]),
        "",
        json.dumps({"user": "Ünïcode", "history": [ids[5], "new"], "visit": 7}),
        json.dumps([]),
    ]


@pytest.mark.parametrize("stdin", [True, False])
def test_recommend_for_lines(tiny, ids, tmp_path, stdin):
    text = "\n".join(lines_of(ids)) + "\n"
    file = tmp_path / "histories.jsonl"
    file.write_text(text, encoding="utf-8")

    if stdin:
        done = lwa("recommend", tiny.folder, "--input", "-", "-k", 3, stdin=text)
    else:
        done = lwa("recommend", tiny.folder, "--input", file, "-k", 3)

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    ranker = lwa_core.load(tiny.folder)
    assert done.exit_code == 0
    assert [answer["items"] for answer in answers] == [
        list(ranker.recommend(history, 3).items) for history in ([ids[3], ids[4]], [ids[5]], [])
    ]
    assert answers[1].keys() == {"user", "visit", "items", "scores", "unknown", "known"}
    assert (answers[1]["user"], answers[1]["visit"], answers[1]["unknown"]) == ("Ünïcode", 7, ["new"])


def test_recommend_for_more_lines_than_one_batch(tiny, ids, tmp_path):
    file = tmp_path / "histories.jsonl"
    file.write_text("".join(json.dumps({"n": n, "history": [ids[n % 100]]}) + "\n" for n in range(600)))

    done = lwa("recommend", tiny.folder, "--input", file, "-k", 1)

    assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == list(range(600))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[1, 2", "is not JSON: "),
        (b"3", "no history"),
        (b'{"items": [1]}', "no history"),
        (b'{"history": [1], "items": [1]}', "the field 'items' is the answer's own"),
        (b'{"history": [1], "filter_seen": 1}', "filter_seen is true or false"),
        (b'{"history": [1], "allow": ["nowhere"]}', "the model knows none of the 1 items that are allowed"),
        (b'{"history": "1,2"}', "no history"),
        (b'{"history": [[1]]}', "a history, item 0: list [1] is no id"),
        (b"[1.5]", "a history, item 0: 1.5 has a fraction"),
        (b"[true]", "a history, item 0: True is a truth value"),
        (b"[null]", "a history, item 0: null is no id"),
        (b"[" * 2000, "is nested more than 100 levels deep"),
        (b'["\xff"]', "is not UTF-8 text (byte 0xff)"),
    ],
)
def test_a_bad_line_is_named(tiny, tmp_path, line, message):
    file = tmp_path / "histories.jsonl"
    file.write_bytes(b'["1"]\n\n' + line + b"\n[2]\n")

    done = lwa("recommend", tiny.folder, "--input", file)

    first, wrong, last = map(json.loads, done.stdout.splitlines())
    assert message in wrong["error"]
    assert 10 == len(first["items"]) == len(last["items"])
    assert "1 of 3 requests were not answered" in done.stderr
    assert done.exit_code == 5
    assert f"error[data]: {file}:3: {message}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_line_of_stdin_is_named(tiny):
    done = lwa("recommend", tiny.folder, "--input", "-", stdin='["1"]\n{\n')

    assert (done.exit_code, True) == (5, "error[data]: stdin:2: is not JSON" in done.stderr)


def test_lines_and_options_say_what_may_be_recommended(tiny, ids):
    lines = [
        {"history": ids[3:5]},
        {"history": ids[3:5], "filter_seen": False, "allow": ids[3:6]},
        {"history": ids[3:5], "exclude": ids[6:]},
    ]

    done = lwa(
        "recommend", tiny.folder, "--input", "-", "--allow", ",".join(ids[:8]), stdin="\n".join(map(json.dumps, lines))
    )

    answers = [set(json.loads(line)["items"]) for line in done.stdout.splitlines()]
    assert [{*ids[:8]} - {*ids[3:5]}, {*ids[3:6]}, {*ids[:6]} - {*ids[3:5]}] == answers


def test_scores_of_chosen_items(tiny, ids):
    done = lwa("recommend", tiny.folder, "--history", ids[3], "--score", f"{ids[3]},{ids[9]}", "--json")

    found = json.loads(done.stdout)
    assert lwa_core.load(tiny.folder).score([ids[3]], [ids[3], ids[9]]) == dict(
        zip(found["items"], found["scores"], strict=True)
    )


def test_input_that_is_not_there(tiny, tmp_path):
    done = lwa("recommend", tiny.folder, "--input", tmp_path / "nowhere")

    assert done.exit_code == 5
    assert f"error[data]: {tmp_path / 'nowhere'}: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize("options", [[], ["--history", "1", "--input", "-"], ["--history", "1", "-k", "0"]])
def test_recommend_used_wrongly(tiny, options):
    done = lwa("recommend", tiny.folder, *options)

    assert (done.exit_code, done.stdout) == (2, "")


def test_a_history_that_is_no_list(tiny):
    done = lwa("recommend", tiny.folder, "--history", "[1, 2")

    assert (done.exit_code, done.stdout) == (5, "")
    assert "--history is not JSON" in done.stderr


def test_a_model_that_the_run_does_not_have(tiny):
    done = lwa("recommend", tiny.folder, "--history", "1", "--model", "nobody")

    expected = "error[model]: the run has no model 'nobody'\n  = it has: " + ", ".join(["teacher", *STUDENTS]) + "\n"
    assert (done.exit_code, done.stdout, done.stderr) == (6, "", expected)


def test_a_folder_that_is_no_run(tmp_path):
    done = lwa("recommend", tmp_path, "--history", "1")

    assert (done.exit_code, done.stdout) == (6, "")
    assert "neither the folder of a model nor of a finished run" in done.stderr


# What is seen while it goes


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class Clock:
    """Time goes on when it is told to."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_progress, "time", clock)
    return clock


RUN = RunContext("tiny", Path("runs/tiny"))


def watch(monkeypatch, terminal, *events):
    """What is on stderr after these events."""
    stream = Stream(terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Progress() as progress:
        for event in events:
            event() if callable(event) else progress(event, RUN)
    return stream.getvalue()


def step(done, total=9):
    return Event("progress", "teacher", "epoch 1", {"done": done, "total": total})


def test_a_pipe_gets_plain_lines(monkeypatch, clock):
    told = watch(
        monkeypatch,
        False,
        Event("run-started"),
        Event("stage-reused", "data", data={"seconds": 0.1}),
        Event("stage-started", "teacher"),
        Event("message", "teacher", "checkpoint-3 is passed over"),
        Event("warning", "teacher", "few users [1, 2]", {"code": "few"}),
        Event("stage-finished", "teacher", data={"seconds": 12.34}),
        Event("run-finished"),
    )

    assert told.splitlines() == [
        "run runs/tiny",
        "data: stored already",
        "teacher …",
        "teacher: checkpoint-3 is passed over",
        "warning[few]: few users [1, 2]",
        "teacher: done in 12.3 s",
    ]


def test_a_pipe_gets_a_line_of_progress_now_and_then(monkeypatch, clock):
    def later(seconds):
        return lambda: setattr(clock, "now", clock.now + seconds)

    events = [Event("stage-started", "teacher")]
    for done in range(1, 10):
        events += [later(4), step(done)]

    told = watch(monkeypatch, False, *events)

    # Every four seconds a step: the first after fifteen seconds is the fourth, the next the eighth.
    assert told.splitlines() == ["teacher …", "teacher: epoch 1: 4 of 9", "teacher: epoch 1: 8 of 9"]


def test_a_terminal_gets_a_bar(monkeypatch):
    told = watch(monkeypatch, True, Event("stage-started", "teacher"), step(1), step(3))

    assert "teacher: epoch 1" in told
    assert "━" in told
    assert "3/9" in told
    assert "\x1b[" in told


def test_a_terminal_gets_lines_between_the_bars_as_they_are_written(monkeypatch):
    told = watch(
        monkeypatch,
        True,
        step(3),
        Event("warning", "teacher", "few users [bold]", {"code": "few"}),
        step(1, total=4),
        Event("stage-finished", "teacher", data={"seconds": 1.0}),
    )

    assert "warning[few]: few users [bold]" in told
    assert "teacher: done in 1.0 s" in told


def test_the_bars_stop_when_a_run_fails(monkeypatch):
    stream = Stream(True)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")

    def fail():
        with Progress() as progress:
            progress(step(3), RUN)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert "\x1b[?25h" in stream.getvalue()  # the cursor is shown again
