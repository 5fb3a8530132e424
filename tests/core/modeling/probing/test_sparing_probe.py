"""A probe that answers thousands of questions in the time of a few."""

import numpy as np

from lwa_core.modeling.probing.probe import Probe
from lwa_core.modeling.probing.sparing_probe import ANSWERED, SparingProbe
from lwa_core.testing import tiny_probe, tiny_recommender


def sparing(layers: int) -> tuple[SparingProbe, object]:
    plain = tiny_probe(tiny_recommender(layers=layers), examples=6)
    how = {"utility": plain.utility, "batch": plain.batch, "seed": plain.seed}
    return SparingProbe(plain.model, plain.subject, plain.histories, plain.targets, **how), plain


def test_few_questions_get_their_own_answers():
    probe, plain = sparing(4)
    subsets = plain.subsets()
    assert len(subsets) <= ANSWERED
    np.testing.assert_array_equal(plain.evaluate(subsets), probe.evaluate(subsets))
    np.testing.assert_array_equal(plain.evaluate(subsets, "kl"), probe.evaluate(subsets, "kl"))


def test_many_questions_get_answers_of_the_same_kind_in_the_time_of_few(monkeypatch):
    probe, _ = sparing(10)
    looked: list[int] = []
    answer = Probe._answer
    monkeypatch.setattr(Probe, "_answer", lambda self, new, kl: looked.append(len(new)) or answer(self, new, kl))

    table = probe.evaluate(probe.subsets())
    again = probe.evaluate([(0, 9), tuple(range(9))], "ndcg")
    divergences = probe.evaluate(probe.subsets(), "kl")

    assert [ANSWERED, ANSWERED] == looked
    assert ((1024, 6), (2, 6), (1024, 6)) == (table.shape, again.shape, divergences.shape)
    assert np.isfinite(table).all()
    assert np.isfinite(divergences).all()
    assert ANSWERED >= len(np.unique(table, axis=0)) > ANSWERED // 2
