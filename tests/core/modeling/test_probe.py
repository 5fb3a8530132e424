"""The prefix trie answers as models with really removed layers do, and costs what it says."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core.modeling.layered import LayeredModel
from lwa_core.modeling.probe import Probe
from lwa_core.testing import tiny_probe

ALL = [kept for n in range(5) for kept in itertools.combinations(range(4), n)]


def naive(probe, kept):
    """Utilities from a model that really lacks the other layers (none at all: every block skipped)."""
    batch = probe.recommender.example_batch(probe.histories, probe._targets)
    with torch.no_grad():
        if kept:
            return -probe.recommender.loss(probe.model.keep(kept).model.eval(), batch).mean.numpy()
        with probe.model.skipping(()):
            return -probe.recommender.loss(probe.model.model, batch).mean.numpy()


def test_every_subset_equals_really_removed_layers():
    probe = tiny_probe()

    table = probe.evaluate(ALL)

    for kept, row in zip(ALL, table, strict=True):
        np.testing.assert_allclose(row, naive(probe, kept), atol=1e-5)


@settings(max_examples=20)
@given(st.lists(st.sets(st.integers(0, 3)).map(lambda s: tuple(sorted(s))), min_size=1, max_size=8))
def test_costs_the_distinct_prefixes_that_keep_a_layer(keeps):
    probe = tiny_probe()
    full = tuple(range(4))

    probe.evaluate(keeps)

    prefixes = {kept[: kept.index(layer) + 1] for kept in set(keeps) - {full} for layer in kept}
    assert probe.layer_evaluations == pytest.approx(4 + len(prefixes))


def test_answers_are_remembered():
    probe = tiny_probe()
    first = probe.evaluate(ALL)
    cost = probe.layer_evaluations

    assert np.array_equal(probe.evaluate(ALL[::-1]), first[::-1])
    assert probe.layer_evaluations == cost


def test_leave_one_out_costs_half_of_what_it_costs_naively():
    probe = tiny_probe()

    probe.evaluate([tuple(j for j in range(4) if j != i) for i in range(4)])

    # Full pass 4, then the prefixes without layer 0, 1, 2, 3: 3 + (1 + 2) + (1 + 1) + 1.
    assert probe.layer_evaluations == pytest.approx(4 + 3 + 3 + 2 + 1)


def test_ndcg_utility_is_the_ndcg_of_the_ranked_target():
    probe = tiny_probe(utility="ndcg")

    values = probe.evaluate([(0, 1, 2, 3)])[0]

    for history, target, value in zip(probe.histories, probe._targets, values, strict=True):
        with torch.no_grad():
            scores = probe.recommender.scores(probe.model.model, probe.recommender.example_batch([history]))[0].tolist()
        rank = sorted(scores, reverse=True).index(scores[target]) + 1
        assert value == pytest.approx(1 / np.log2(1 + rank) if rank <= 10 else 0.0)


def test_works_on_a_language_model_whose_blocks_take_masks_and_position_embeddings():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, vocab_size=20
    )
    model = LayeredModel(LlamaForCausalLM(config).eval())

    class NextToken:
        def example_batch(self, histories, targets=None):
            width = max(map(len, histories))
            ids = torch.zeros(len(histories), width, dtype=torch.long)
            for row, history in enumerate(histories):
                ids[row, width - len(history) :] = torch.from_numpy(history.astype("int64"))
            mask = torch.tensor([[i >= width - len(h) for i in range(width)] for h in histories]).long()
            return {"input_ids": ids, "attention_mask": mask, "labels": torch.from_numpy(targets)}

        def loss(self, model, batch):
            from lwa_core.training import Losses

            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, -1]
            loss = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
            return Losses(loss, torch.ones(len(loss)))

    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 20, n).astype(np.int32) for n in (2, 5, 3, 6)]
    targets = rng.integers(0, 20, 4)
    probe = Probe(model, NextToken(), histories, targets, batch=2)

    table = probe.evaluate([(0, 1, 2), (0, 2), (1,)])

    for kept, row in zip([(0, 1, 2), (0, 2), (1,)], table, strict=True):
        for number, (history, target) in enumerate(zip(histories, targets, strict=True)):
            with torch.no_grad():
                student = model.keep(kept).model.eval()
                alone = -NextToken().loss(student, NextToken().example_batch([history], np.array([target]))).mean
            assert row[number] == pytest.approx(float(alone), abs=1e-4)
