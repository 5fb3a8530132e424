import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import example_run
import pytest
from example_run import write_run

from lwa_core.errors import StoreError
from lwa_core.report import write_report
from lwa_core.report.answer import answer

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects the text and the elements, and checks that every element is closed in order."""

    def __init__(self, source):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(source)
        assert [] == self.open
        self.text = " ".join(" ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    def count(self, tag):
        return sum(1 for name, _ in self.elements if name == tag)


def report_of(folder, told=None, measured=None):
    html, markdown = write_report(write_run(folder, told or example_run.metrics(), measured))
    return Page(html.read_text("utf-8")), markdown.read_text("utf-8")


def without(told, *keys):
    for key in keys:
        told[key] = None
    return told


def test_both_files_are_written(tmp_path):
    written = write_report(write_run(tmp_path, measured=example_run.performance()))

    assert [tmp_path / "report.html", tmp_path / "report.md"] == written
    assert all(path.stat().st_size > 5000 for path in written)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    write_run(tmp_path, measured=example_run.performance())

    first = [path.read_bytes() for path in write_report(tmp_path)]

    # In another process: hash randomisation and import order differ there.
    code = (
        "import sys; from pathlib import Path; from lwa_core.report import write_report\n"
        "write_report(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert first == [(tmp_path / name).read_bytes() for name in ("report.html", "report.md")]


def test_the_answer_comes_from_the_figures(tmp_path):
    page, markdown = report_of(tmp_path, measured=example_run.performance())

    for sentence in (
        "qlora-4 (4 of 8 layers) reaches NDCG@10 0.0962 on 943 test users and the teacher 0.1000: it keeps 96.2 % "
        "(95 % interval 92.2 % to 100.2 %); the difference is −0.0038 (−0.0078 to +0.0002), so these users show "
        "neither a loss nor that there is none.",
        "the difference is −0.0090 (−0.0130 to −0.0050), a loss.",
        "For qlora-4, a request takes it 0.78 (0.76 to 0.80) times as long as the teacher (the layer count alone would "
        "give 0.50), and its weights take 0.7 MB of memory instead of 2.4 MB.",
        "The teacher is shown to rank better than item-knn, the best untrained baseline: NDCG@10 0.1000 against "
        "0.0830, +0.0170 (+0.0120 to +0.0220).",
    ):
        assert sentence in page.text
        assert sentence in markdown


@pytest.mark.parametrize(
    ("versus", "said"),
    [
        (
            example_run.figure(-0.02, 0.005),
            "The teacher is shown to rank worse than item-knn, the best untrained baseline: NDCG@10 0.1000 against "
            "0.0830, −0.0200 (−0.0250 to −0.0150); so its layers are not shown to be worth anything here, whichever of "
            "them are kept.",
        ),
        (
            example_run.figure(-0.0005, 0.0127),
            "The teacher is not shown to rank better or worse than item-knn, the best untrained baseline: NDCG@10 "
            "0.1000 against 0.0830, −0.0005 (−0.0132 to +0.0122); so its layers are not shown to be worth anything "
            "here, whichever of them are kept.",
        ),
        (
            {"mean": 0.4, "units": 2},
            "The teacher has no interval that could show it to rank better or worse than item-knn, the best untrained "
            "baseline: NDCG@10 0.1000 against 0.0830, +0.4000 (no interval: 2 users); so its layers are not shown to "
            "be worth anything here, whichever of them are kept.",
        ),
    ],
)
def test_a_teacher_that_does_not_beat_a_baseline_is_not_glossed_over(tmp_path, versus, said):
    told = example_run.metrics()
    told["models"][0]["versus"]["item-knn"]["ndcg@10"] = versus

    page, markdown = report_of(tmp_path, told)

    assert said in page.text
    assert said in markdown


def test_the_first_sentence_is_whether_the_teacher_beats_the_best_baseline():
    told = example_run.metrics()
    better = {**next(model for model in told["models"] if model["name"] == "item-knn"), "name": "transitions"}
    better["metrics"] = {**better["metrics"], "ndcg@10": example_run.figure(0.104, 0.006)}
    told["models"].append(better)
    told["models"][0]["versus"]["transitions"] = {"ndcg@10": example_run.figure(-0.004, 0.001)}

    first = answer(example_run.results(told))[0]

    assert first.startswith("The teacher is shown to rank worse than transitions, the best untrained baseline: ")


def test_every_figure_of_the_results_is_there(tmp_path):
    page, markdown = report_of(tmp_path, measured=example_run.performance())

    for model in example_run.METRICS["models"]:
        own = model["metrics"]["ndcg@10"]
        for shown in (model["name"], f"{own['mean']:.4f} ({own['low']:.4f} to {own['high']:.4f})"):
            assert shown in page.text
            assert shown in markdown
    for shown in ("a" * 64, "b" * 64, "Some CPU @ 2.5 GHz", "lwa run recipe.toml"):
        assert shown in page.text
        assert shown in markdown


def test_there_is_a_chart_for_every_scorer_and_every_training(tmp_path):
    page, _ = report_of(tmp_path, measured=example_run.performance())

    # models, two trade-offs, five scorers, two of them with a stability curve, two figures of two trainings
    assert 1 + 2 + 5 + 2 + 2 * 2 == page.count("svg")
    labels = [attributes.get("aria-label", "") for tag, attributes in page.elements if tag == "svg"]
    assert {f"scores of {s['name']}" for s in example_run.METRICS["scores"]} <= set(labels)


def test_the_page_needs_nothing_else(tmp_path):
    page, _ = report_of(tmp_path, measured=example_run.performance())

    assert 0 == page.count("script")
    assert 0 == page.count("link")
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", (tmp_path / "report.html").read_text("utf-8"))


def test_ids_are_unique_and_all_that_is_referred_to_is_there(tmp_path):
    report_of(tmp_path, measured=example_run.performance())
    source = (tmp_path / "report.html").read_text("utf-8")

    for svg in re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL):
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
        assert set(ids) == set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))


def test_names_from_the_data_are_text(tmp_path):
    evil = "<script>alert(1)</script>\"'|`*$x$\n# no heading"
    told = example_run.metrics()
    for model in told["models"]:
        if model["name"] == "distill-4":
            model["name"] = evil
    told["recipe"]["name"] = told["scores"][0]["name"] = told["scores"][0]["reference"] = evil
    told["scores"][0]["unit"] = told["agreement"]["names"][0] = told["training"][0]["name"] = evil
    told["data"]["facts"]["notes"] = [evil]
    told["asked"]["data"]["path"] = evil
    told["asked"]["recommender"]["name with <b>"] = evil
    told["warnings"] = [{"code": evil, "message": evil}]
    told["plan"]["trace"] = {"said": evil}
    measured = example_run.performance()
    measured["machine"]["cpu"] = evil
    measured["latency"]["models"][evil] = measured["latency"]["models"].pop("distill-4")

    page, markdown = report_of(tmp_path, told, measured)

    assert 0 == page.count("script")
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "<script" not in markdown.replace("\\<script", "")
    assert "\n# no heading" not in markdown
    assert not [line for line in markdown.splitlines() if re.search(r"(?<!\\)\*\$x", line)]


def test_what_was_not_measured_is_said_to_be(tmp_path):
    page, markdown = report_of(tmp_path)

    for what in ("time; the recipe asks for no timed requests", "memory in a fresh process", "the machine"):
        assert f"Not measured: {what}" in page.text
        assert f"**Not measured:** {what}" in markdown
    assert "a request takes it" not in page.text
    assert "p95" not in page.text


def test_a_recipe_that_asks_for_little_still_has_a_report(tmp_path):
    told = example_run.metrics()
    told["scores"], told["agreement"], told["training"] = [], {"names": [], "kendall": []}, []
    told["models"] = [m for m in told["models"] if m["kind"] == "teacher"]
    told["asked"]["score"] = told["asked"]["compress"] = []
    measured = {"machine": example_run.performance()["machine"], "latency": None, "memory": {}, "stages": []}

    page, markdown = report_of(tmp_path, told, measured)

    for what in ("no scorer was asked for", "no model was trained in this run"):
        assert f"Not measured: {what}" in page.text
        assert f"**Not measured:** {what}" in markdown


def test_one_student_and_missing_parts(tmp_path):
    told = example_run.metrics()
    without(told["models"][1], "bytes_memory", "bytes_disk", "parameters", "kept", "difference")
    told["models"] = told["models"][:2]

    page, _ = report_of(tmp_path, told, example_run.performance())

    assert "drop-4 (4 of 8 layers) reaches NDCG@10 0.0710 on 943 test users and the teacher 0.1000." in page.text
    assert "not measured" in page.text


def test_warnings_about_time_are_in_the_report(tmp_path):
    page, markdown = report_of(tmp_path, measured=example_run.performance())

    for text in (page.text, markdown):
        assert "qlora-4 is shown to be slower than distill-4" in text
        assert "left out: 3 rows without a user" in text


def test_what_is_added_to_a_request_stands_beside_the_network(tmp_path):
    page, markdown = report_of(tmp_path, measured=example_run.performance())

    for text in (page.text, markdown):
        assert (
            "A whole answer of the teacher takes 4 ms (median) and its network alone 2.4 ms: what lwa adds to a "
            "request is 1.6 ms (1.59 ms to 1.61 ms)."
        ) in text
        assert "processor time was 98.0 % of wall time; load 0.3 before and 1.1 after on 2 processors" in text


def test_unreliable_times_are_no_headline(tmp_path):
    measured = example_run.performance()
    measured["latency"]["unreliable"] = ["drop-4 and distill-4 are of one architecture, and yet"]

    page, markdown = report_of(tmp_path, measured=measured)

    for text in (page.text, markdown):
        assert (
            "How long a request takes is not stated, for the timing is unreliable: drop-4 and distill-4 are of one "
            "architecture, and yet."
        ) in text
        assert "Timing unreliable:" in text
        assert "a request takes it" not in text
        assert "slower than" not in text
    assert "Not measured: median latency at batch 1 [ms]: the timing is unreliable" in page.text
    assert 1 == sum(1 for tag, at in page.elements if tag == "svg" and "against" in at["aria-label"])


OF_RECOMMENDATION = re.compile(
    r"\busers?\b|\bitems?\b|catalogue|NDCG|histor(y|ies)|Ranking|ranks? (better|worse)", re.IGNORECASE
)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("timed", [True, False])
def test_a_run_on_texts_speaks_of_texts(tmp_path, whole, timed):
    measured = example_run.performance() if timed else None
    if timed:
        measured["latency"]["models"] = {"teacher": example_run.timed(4.0)}

    page, markdown = report_of(tmp_path, example_run.text_metrics(whole=whole), measured)

    for text in (page.text, markdown):
        assert not OF_RECOMMENDATION.search(text)
        assert "test texts" in text
        assert "Less is better: perplexity" in text
        assert "c" * 64 in text
        assert ("One text at a time" in text) == timed


def test_of_a_perplexity_less_is_better(tmp_path):
    page, markdown = report_of(tmp_path, example_run.text_metrics())

    for sentence in (
        "fine-tune-4 (4 of 8 layers) reaches perplexity 20.3000 on 400 test texts and the teacher 20.0000: 101.5 % "
        "(95 % interval 99.0 % to 104.0 %) of the teacher's, where less is better; the difference is +0.3000 (−0.2000 "
        "to +0.8000), so these texts show neither a loss nor that there is none.",
        "drop-2 (2 of 8 layers) reaches perplexity 19.0000 on 400 test texts and the teacher 20.0000: 95.0 % (95 % "
        "interval 92.5 % to 97.5 %) of the teacher's, where less is better; the difference is −1.0000 (−1.5000 to "
        "−0.5000), a gain.",
        "The teacher is shown to be better than bigram, the best untrained baseline: perplexity 20.0000 against "
        "25.0000, −5.0000 (−5.5000 to −4.5000).",
    ):
        assert sentence in page.text
        assert sentence in markdown


def test_the_share_of_a_healed_student_is_held_against_a_teacher_trained_as_long(tmp_path):
    page, markdown = report_of(tmp_path, example_run.controlled(example_run.metrics()))

    for text in (page.text, markdown):
        assert (
            "Of the figure of the teacher trained as much longer (teacher+distill, 0.1100) it keeps 93.0 % (95 % "
            "interval 89.0 % to 97.0 %), a loss."
        ) in text
        assert "qlora-4: not compared with the teacher trained as much longer" in text
        assert "share of the teacher trained as much longer" in text


def test_the_ratio_of_a_perplexity_to_a_teacher_trained_as_long(tmp_path):
    page, _ = report_of(tmp_path, example_run.controlled(example_run.text_metrics(), gain=-0.5, share=1.04))

    assert (
        "Of the figure of the teacher trained as much longer (teacher+distill, 19.5000) that is 104.0 % (95 % interval "
        "100.0 % to 108.0 %), where less is better, a gain."
    ) in page.text


def test_a_teacher_that_has_not_converged_is_spoken_of_first(tmp_path):
    told = example_run.metrics()
    told["warnings"].insert(0, {"code": "teacher-not-converged", "message": "the teacher has not converged: so"})

    page, markdown = report_of(tmp_path, told)

    for text in (page.text, markdown):
        assert text.index("The teacher has not converged: so.") < text.index("(4 of 8 layers) reaches")


def test_figures_without_an_interval_say_why(tmp_path):
    told = example_run.metrics()
    for model in told["models"]:
        model["metrics"]["ndcg@10"] = {"mean": 1.0, "low": None, "high": None, "units": 2}
        if model["kind"] != "teacher":
            model["kept"]["ndcg@10"] = {"mean": 1.0, "low": None, "high": None, "units": 2}
            model["difference"]["ndcg@10"] = {"mean": 0.0, "low": None, "high": None, "units": 400}

    page, markdown = report_of(tmp_path, told)

    for text in (page.text, markdown):
        assert "it keeps 100.0 % (no interval: 2 users)" in text
        assert "+0.0000 (no interval: too few of 400 users differ), so these users show neither" in text
        assert "1.0000 (no interval: 2 users)" in text


def test_a_higher_perplexity_is_a_loss(tmp_path):
    told = example_run.text_metrics()
    told["models"] = [model for model in told["models"] if model["name"] not in ("fine-tune-4", "drop-2")]

    page, _ = report_of(tmp_path, told)

    assert "the difference is +11.0000 (+10.5000 to +11.5000), a loss." in page.text


def test_of_an_accuracy_more_is_better(tmp_path):
    page, _ = report_of(tmp_path, example_run.text_metrics("accuracy"))

    assert (
        "drop-2 (2 of 8 layers) reaches accuracy 0.5200 on 400 test texts and the teacher 0.5000: it keeps" in page.text
    )
    assert "+0.0200 (+0.0100 to +0.0300), a gain." in page.text
    assert "bigram, the best untrained baseline: accuracy 0.5000 against 0.4500, +0.0500" in page.text


@pytest.mark.parametrize("task", ["recommendation", "text"])
def test_what_was_not_asked_for_is_left_out(tmp_path, task):
    told = example_run.text_metrics(whole=False)
    if task == "recommendation":
        told = example_run.metrics()
        told |= {"scores": [], "agreement": None, "plan": None, "training": []}
        told["models"] = [model for model in told["models"] if model["kind"] == "teacher"]
        for table in ("score", "select", "compress"):
            del told["asked"][table]

    page, markdown = report_of(tmp_path, told, example_run.performance())

    for text in (page.text, markdown):
        for left_out in (
            "The plan",
            "How much each layer matters",
            "the best set",
            "Training\n",
            "agree",
            "baseline",
            "student (",
            "τ",
        ):
            assert left_out not in text
        assert "What it costs" in text
        assert "teacher (8 layers) reaches" in text


def test_a_run_without_test_examples_has_a_report_of_its_layers(tmp_path):
    told = example_run.text_metrics()
    told["data"]["facts"]["counts"]["test"] = 0
    told["models"] = [
        {**model, "metrics": {}, "difference": None, "kept": None, "versus": {}} for model in told["models"]
    ]
    told["models"] = [model for model in told["models"] if model["kind"] != "baseline"]

    page, markdown = report_of(tmp_path, told)

    for text in (page.text, markdown):
        assert "How much each layer matters" in text
        assert "reaches" not in text
        assert "quality; the recipe keeps no test texts" in text
        assert "only 0 test texts" not in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not the folder of a finished run"),
        ("{", "cannot read"),
        ("[]", "has format None, not 2"),
        ('{"format": 99}', "has format 99, not 2"),
        ('{"format": 2}', "metrics.json is damaged: Object missing required field `lwa`"),
    ],
)
def test_a_run_without_readable_metrics_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)

    with pytest.raises(StoreError, match=said):
        write_report(tmp_path)


def test_markdown_tables_have_as_many_cells_as_columns(tmp_path):
    _, markdown = report_of(tmp_path, measured=example_run.performance())

    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert 16 == len(tables)
    for table in tables:
        assert 1 == len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()})


def test_writing_a_report_imports_no_torch(tmp_path):
    write_run(tmp_path, measured=example_run.performance())
    code = (
        "import sys; from pathlib import Path; from lwa_core.report import write_report\n"
        "write_report(Path(sys.argv[1])); print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)

    assert "False" == done.stdout.strip()


def test_the_example_is_valid_json():
    assert example_run.METRICS == json.loads(json.dumps(example_run.METRICS, allow_nan=False))


SPITEFUL = "x\x1b[2J\x07\u202e<b onload='alert(1)'>$\\frac{1$ $y^$[red]&amp;"


@pytest.mark.parametrize("word", ["fisher", "distill-4"])
def test_names_of_others_stay_text(tmp_path, word):
    told = json.loads(json.dumps(example_run.metrics()).replace(json.dumps(word), json.dumps(SPITEFUL)))
    measured = json.loads(json.dumps(example_run.performance()).replace(json.dumps(word), json.dumps(SPITEFUL)))

    page, markdown = report_of(tmp_path, told, measured)

    shown = SPITEFUL.replace("\x1b", "\\u001b").replace("\x07", "\\u0007").replace("\u202e", "\\u202e")
    assert shown in page.text
    assert not any("onload" in attributes for _, attributes in page.elements)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert set() == {c for c in html + markdown if not c.isprintable()} - {"\n", "\N{NO-BREAK SPACE}", "\N{THIN SPACE}"}
    assert "<" not in markdown.replace("\\<", "")
