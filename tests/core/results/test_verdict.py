import re

import example_run
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core.report.answer import answer
from lwa_core.results.schema import Figure
from lwa_core.results.verdict import Verdict, advantage, compared, verdict
from lwa_core.results.warnings import performance_warnings, warnings_for

SAID = re.compile(r"(better|worse|slower|faster|a gain|a loss)\b")
CLAIM = re.compile(
    r"(\S+) (?:\([^()]*\) |was trained, and )?is shown to (?:rank|be) (better|worse) than (?:the baselines? )?(.*)"
)
CHOICE = re.compile(r"the choice of layers ([\d, ]+), as cut, is shown to (?:rank|be) (better|worse) than (.*)")
SLOWER = re.compile(r"(\S+) is shown to be slower than (\S+),")
DIFFERENCE = re.compile(r"^(\S+) \(\d of \d layers\) reaches .*, a (gain|loss)\.(?: It was trained|$)")
CONTROL = re.compile(r"^(\S+) .* Of the figure of the teacher trained as much longer \(.*, a (gain|loss)\.$")
BASELINE = re.compile(r"^The teacher is shown to (?:rank|be) (better|worse) than (\S+), the best untrained baseline: ")
SHOWS_NOTHING = re.compile(
    r"is not shown to|no interval that could show|show neither a loss nor|which does not show that there is none"
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.02, Verdict.BETTER),
        (-0.02, -0.01, Verdict.WORSE),
        (-0.0133, 0.0122, Verdict.EITHER),
        (0.0, 0.1, Verdict.EITHER),
        (-0.1, 0.0, Verdict.EITHER),
        (None, None, Verdict.UNKNOWN),
        (0.1, None, Verdict.UNKNOWN),
    ],
)
def test_an_interval_shows_what_it_leaves_out(low, high, expected):
    turned = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    figure = Figure(0.0, low, high)

    assert expected is verdict(figure)
    assert turned.get(expected, expected) is verdict(figure, less_is_better=True)
    assert verdict(advantage(figure, less_is_better=True)) is verdict(figure, less_is_better=True)


def test_a_ratio_is_the_same_at_one():
    assert Verdict.WORSE is verdict(Figure(1.2, 1.1, 1.3), same=1.0, less_is_better=True)
    assert Verdict.EITHER is verdict(Figure(1.0, 0.9, 1.1), same=1.0)
    assert Verdict.UNKNOWN is verdict(None)


def test_words_for_every_verdict():
    assert "is shown to rank better than" == compared(Verdict.BETTER, "rank")
    assert len(Verdict) == len({compared(each) for each in Verdict})


ENDS = st.floats(-1, 1).map(lambda value: round(value, 4))


@st.composite
def figures(draw, around=0.0):
    mean, low, high = sorted(draw(st.lists(ENDS, min_size=3, max_size=3)))
    if draw(st.booleans()):
        return {"mean": around + low, "low": None, "high": None, "units": draw(st.integers(1, 1000))}
    return {"mean": around + low, "low": around + mean, "high": around + high, "units": 943}


@st.composite
def runs(draw):
    """A run whose figures and intervals are anything."""
    texts = draw(st.booleans())
    told = example_run.controlled(example_run.text_metrics() if texts else example_run.metrics())
    headline = told["headline"]
    for model in told["models"]:
        model["metrics"][headline] = draw(figures(around=1.5))
        for other in told["models"]:
            if other is not model:
                model["versus"].setdefault(other["name"], {})[headline] = draw(figures())
        if model["kind"] == "student":
            model["difference"][headline] = draw(figures())
            model["kept"][headline] = draw(figures(around=1.5))
        if model.get("control"):
            model["control"]["difference"][headline] = draw(figures())
    measured = example_run.performance()
    for name, times in measured["latency"]["models"].items():
        times["p50"] = draw(st.floats(0.1, 10))
        times["ratio"] = None if name == "teacher" else draw(figures(around=1.5))
    return example_run.results(told, measured)


def model_of(results, name):
    return next(model for model in results.models if model.name == name)


def shown(figure, word, less_is_better):
    """Written out anew: whether an interval leaves no other way than this."""
    if figure is None or figure.low is None or figure.high is None:
        return False
    above, below = figure.low > 0, figure.high < 0
    good, bad = (below, above) if less_is_better else (above, below)
    return good if word in ("better", "gain") else bad


def slower(results, name, source):
    own, before = results.latency(name).ratio, results.latency(source).ratio
    limit = Figure(1.0, 1.0, 1.0) if source == "teacher" else before
    return None not in (own.low, limit.high) and own.low > limit.high


def choice_shown(results, layers, word, others):
    """Whether the choice of these layers is so to each of the sets that a sentence names."""
    (choice,) = [each for each in results.metrics.choices if ", ".join(map(str, each.chosen.layers)) == layers]
    named = {", ".join(map(str, other.layers)): other.ahead for other in choice.others}
    found = re.findall(r"\(([\d, ]+);", others)
    return bool(found) and all(shown(named[each], word, less_is_better=False) for each in found)


@settings(max_examples=50)
@given(runs())
def test_no_sentence_says_more_than_its_interval(results):
    said = [w.message for w in [*warnings_for(results), *performance_warnings(results)]]
    for sentence in answer(results):
        if claim := CONTROL.match(sentence):
            against = model_of(results, claim[1]).control.difference[results.headline]
            assert shown(against, claim[2], results.less_is_better)
        first, _, held = sentence.partition(" Of the figure of ")
        said += [first, held.removesuffix(", a gain.").removesuffix(", a loss.")]
    less = results.less_is_better
    for sentence in said:
        if claim := CHOICE.match(sentence):
            assert choice_shown(results, *claim.groups())
        elif claim := CLAIM.match(sentence):
            name, word, others = claim.groups()
            for other in re.findall(r"([\w-]+) \(", re.sub(r"advantage \S+ \(", "", others)):
                assert shown(results.versus(model_of(results, name), model_of(results, other)), word, less)
        elif claim := SLOWER.match(sentence):
            assert slower(results, *claim.groups())
        elif claim := DIFFERENCE.match(sentence):
            assert shown(results.figure(model_of(results, claim[1]), "difference"), claim[2], less)
        elif claim := BASELINE.match(sentence):
            assert shown(results.versus(results.teacher, model_of(results, claim[2])), claim[1], less)
        else:  # any other sentence with such a word says that nothing is shown
            without = sentence.replace("where less is better", "")
            assert not SAID.search(without) or SHOWS_NOTHING.search(without), sentence


@settings(max_examples=50)
@given(runs())
def test_every_pair_with_a_baseline_is_spoken_of_as_its_interval_says(results):
    said = [w.message for w in warnings_for(results) if w.code == "below-baseline"]
    for model in [results.teacher, *results.of_kind("student")]:
        for baseline in results.of_kind("baseline"):
            found = verdict(results.versus(model, baseline), less_is_better=results.less_is_better)
            words = compared(found, results.words.rank)
            told = [
                line
                for line in said
                if line.startswith(f"{model.name} (") and re.search(rf"\b{baseline.name} \(", line)
            ]
            assert (found is not Verdict.BETTER) == (len(told) == 1)
            assert all(words in line for line in told)
