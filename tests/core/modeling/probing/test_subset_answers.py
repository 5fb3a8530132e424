"""What is remembered of a model with layers left out changes nothing but the time (damage: `pipeline/test_answers`)."""

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_recipe import TEXT, computed, run

from lwa_core.modeling.probing import whole_passes
from lwa_core.modeling.probing.prefix_trie import Walk
from lwa_core.modeling.probing.probe import Probe
from lwa_core.modeling.probing.subset_answers import SubsetAnswers
from lwa_core.pipeline.answers import stored_answers
from lwa_core.statistics.subsets import kept_of, row_of
from lwa_core.store.results import Store
from lwa_core.testing import tiny_probe

ABOUT = "0123456789abcdef" * 4
ALL = [kept for n in range(5) for kept in itertools.combinations(range(4), n)]


@given(st.sets(st.integers(0, 63)))
def test_layers_as_bits_and_back(kept):
    kept = tuple(sorted(kept))

    assert kept == kept_of(row_of(kept))
    assert row_of(kept) == sum(2**layer for layer in kept)


@pytest.fixture
def walked(monkeypatch):
    """The subsets that were really asked for, micro-batch by micro-batch."""
    asked = []
    real = Walk.run

    def spy(self, keeps, **how):
        asked.append(list(keeps))
        return real(self, keeps, **how)

    monkeypatch.setattr(Walk, "run", spy)
    # That walks answer as whole passes do is seen by walks, too, once for each model.
    monkeypatch.setattr(whole_passes, "_walks_as_whole", lambda _: True)
    return asked


def probe_of(store, about=ABOUT):
    probe = tiny_probe()
    return Probe(
        probe.model,
        probe.subject,
        probe.histories,
        probe.targets,
        batch=7,
        answers=stored_answers(Store(store), about),
    )


def families(store):
    return sorted((store / "results" / "answers").iterdir())


def test_only_what_is_not_known_is_asked_for(tmp_path, walked):
    probe_of(tmp_path).evaluate([(0, 1), (2,)])
    walked.clear()

    probe_of(tmp_path).evaluate([(0, 1), (3,), (2,)])

    assert [[(3,)]] * 3 == walked  # 20 examples, 7 at a time
    assert len(families(tmp_path)) == 2


def test_the_price_does_not_depend_on_what_was_known(tmp_path):
    costs = []
    for _ in range(2):
        probe = probe_of(tmp_path)
        with probe.holding():
            probe.evaluate(ALL[:6])
            probe.evaluate(ALL)
        costs.append(probe.cost)

    assert costs[0] == costs[1] == pytest.approx(15 / 4)


def test_what_is_learnt_first_stays():
    answers = SubsetAnswers()
    kept = np.array([5], dtype=np.uint64)
    answers.learn({"kept": kept, "losses": np.array([[1.0]]), "ranks": np.array([[3]])})
    answers.learn({"kept": kept, "losses": np.array([[2.0]]), "ranks": np.array([[4]]), "kl": np.array([[0.5]])})

    assert ([1.0], [3], [0.5]) == tuple(list(t[0, 2]) for t in (answers.losses, answers.ranks, answers.kl))


# Whole runs

SCORERS = {
    "exact": '[[score]]\nuse = "shapley"\nmethod = "exact"\nutility = "kl"\n',
    "others": "".join(
        f'[[score]]\nuse = "{name}"\n'
        for name in ("leave-one-out", "greedy-order", "banzhaf", "kernel-shap", "logit-lens", "shapley")
    ),
}
HEAD, TAIL = TEXT.partition("[[score]]")[0], "[select]" + TEXT.partition("[select]")[2]
HEAD = HEAD.replace("epochs = 3", "epochs = 1")
TAIL = TAIL.partition("[[compress]]")[0] + '[[compress]]\nuse = "drop"\n\n[evaluate]' + TAIL.partition("[evaluate]")[2]


def scored(folder, store, which):
    return run(folder, store, text=HEAD + SCORERS[which] + "\n" + TAIL)


def test_another_scorer_of_the_same_store_asks_nothing_and_says_the_same_as_alone(tmp_path, walked):
    scored(tmp_path, tmp_path / "store", "exact")
    shutil.copytree(tmp_path / "store", tmp_path / "empty")
    for kind in ("answers", "scores"):
        shutil.rmtree(tmp_path / "empty" / "results" / kind, ignore_errors=True)
    walked.clear()

    after, events = scored(tmp_path, tmp_path / "store", "others")

    assert "score shapley" in " ".join(computed(events))
    assert walked == []
    alone, _ = scored(tmp_path, tmp_path / "empty", "others")
    assert walked
    assert (after / "metrics.json").read_bytes() == (alone / "metrics.json").read_bytes()
