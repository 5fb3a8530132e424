"""The forms of training windows, against a naive listing of what each looks at and has to predict."""

import json
from itertools import pairwise

import numpy as np
import pytest
import tiny_recipe
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import Catalogue
from lwa_core.data.prepare import prepare
from lwa_core.recipe.reader import load_recipe
from lwa_core.report import write_report
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders.backbone import Backbone
from lwa_plugins.recommenders.sequential import Sequential

ITEMS = 30
MASK = -1
SEQUENCES = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=14), min_size=1, max_size=4)
SHAPES = {"layers": 1, "width": 8, "dropout": 0.0}


def listed(batch, first):
    """Of every example of a batch the inputs, and the targets by the place that predicts them."""
    rows = []
    parts = (batch[name].tolist() for name in ("input_ids", "attention_mask", "labels"))
    for ids, mask, labels in zip(*parts, strict=True):
        inputs = tuple(item - first for item, real in zip(ids, mask, strict=True) if real)
        rows.append((inputs, {place: label - 1 for place, label in enumerate(labels) if label}))
    return rows


def naive_next(sequence, form, length, stride):
    """Inputs and targets by place of every window of one sequence, by the definition of each form."""
    n = len(sequence)
    if form == "whole":  # targets in groups of `length` from the end, the inputs one place before them
        groups = [range(max(1, end - length), end) for end in range(n, 1, -length)]
    elif form == "sliding":
        ends = [n]
        while ends[-1] > length + 1:
            ends.append(ends[-1] - stride)
        groups = [range(max(1, end - length), end) for end in ends if end >= 2]
    else:
        return [(tuple(sequence[max(0, t - length) : t]), {min(t, length) - 1: sequence[t]}) for t in range(1, n)]
    return [
        (tuple(sequence[t - 1] for t in group), {place: sequence[t] for place, t in enumerate(group)})
        for group in groups
    ]


def made(asked, sequences, first):
    windows = asked.training_windows([np.array(sequence, dtype=np.int32) for sequence in sequences])
    return [row for window in windows for row in listed(asked.training_batch([window]), first)]


def in_order(rows):
    return sorted((inputs, sorted(targets.items())) for inputs, targets in rows)


@settings(max_examples=60, deadline=None)
@given(SEQUENCES, st.sampled_from(["whole", "sliding", "prefixes"]), st.integers(2, 6), st.integers(1, 6))
@pytest.mark.parametrize("kind", [Sequential, Backbone])
def test_next_items_are_learnt_from_the_windows_of_each_form(kind, sequences, form, length, stride):
    stride = min(stride, length)
    asked = kind(windows=form, stride=stride, max_length=length)

    expected = [row for sequence in sequences for row in naive_next(sequence, form, length, stride)]

    assert in_order(expected) == in_order(made(asked, sequences, first=1))


@settings(max_examples=30, deadline=None)
@given(SEQUENCES, st.integers(2, 6))
def test_of_a_masked_prefix_the_last_item_alone_is_hidden(sequences, length):
    asked = Sequential(objective="masked", windows="prefixes", max_length=length)

    expected = []
    for sequence in sequences:
        for t in range(1, len(sequence)):
            before = sequence[max(0, t + 1 - length) : t]
            expected.append(((*before, MASK), {len(before): sequence[t]}))

    assert in_order(expected) == in_order(made(asked, sequences, first=2))


@settings(max_examples=30, deadline=None)
@given(SEQUENCES, st.integers(2, 6), st.integers(1, 6))
def test_masked_sliding_windows_hold_every_event_of_a_sequence(sequences, length, stride):
    asked = Sequential(objective="masked", windows="sliding", stride=min(stride, length), max_length=length)
    for sequence in sequences:
        windows = asked.training_windows([np.arange(len(sequence), dtype=np.int32)])

        assert all(2 <= len(window) <= length for window in windows)
        held = {int(event) for window in windows for event in window}
        assert set(range(len(sequence))) - held <= {0}  # a first event that would be a window of its own is left out
        ends = [int(window[-1]) for window in windows]
        assert all(one - other == asked.stride for one, other in pairwise(ends))


def test_a_stride_as_long_as_the_window_is_the_whole_form():
    sequences = [np.arange(n, dtype=np.int32) for n in range(14)]
    for length in (2, 5):
        whole, sliding = (
            Sequential(max_length=length, windows=form, stride=length).training_windows(sequences)
            for form in ("whole", "sliding")
        )
        assert [window.tolist() for window in whole] == [window.tolist() for window in sliding]


@pytest.mark.parametrize("kind", [Sequential, Backbone])
def test_a_stride_that_would_pass_over_events_is_refused(kind):
    kind(windows="sliding", stride=8, max_length=8)
    with pytest.raises(ValueError, match="stride = 9 would pass over events: max_length = 8"):
        kind(windows="sliding", stride=9, max_length=8)


@pytest.mark.parametrize("training_loss", ["cross-entropy", "sampled", "gbce"])
def test_the_loss_counts_the_last_target_of_a_prefix_and_no_other(training_loss):
    """With every item a negative, sampled softmax is the full one; gbce is checked by the count and by gradients."""
    asked = tiny_recommender(
        layers=1, dropout=0.0, windows="prefixes", training_loss=training_loss, negatives=ITEMS, calibration_t=0.0
    )
    model = tiny_probe(asked).model.model.train()
    windows = asked.training_windows([np.array([3, 1, 4, 15, 9, 2], dtype=np.int32)])

    losses = asked.loss(model, asked.training_batch(windows))

    assert [1] * 5 == losses.count.tolist()
    if training_loss != "gbce":
        for window, total in zip(windows, losses.total, strict=True):
            state = model(torch.from_numpy(window[:-1].astype("int64"))[None] + 1).last_hidden_state[0, -1]
            expected = torch.nn.functional.cross_entropy(
                (model.item_table() @ state)[None], torch.tensor([int(window[-1])])
            )
            torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)


def test_a_run_says_the_form_and_how_many_windows_and_targets_it_gave(tmp_path):
    small = ("data.users=60", "recommender.epochs=1", "recommender.width=8", "evaluate.requests=0", "select.keep=[2]")
    forms = {"whole": (), "sliding": ("recommender.stride=3",), "prefixes": ()}
    for form, more in forms.items():
        overrides = (*small, f'recommender.windows="{form}"', *more)
        folder, _ = tiny_recipe.run(tmp_path, tmp_path / "store", *overrides)
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        recipe = load_recipe(tiny_recipe.write_recipe(tmp_path), overrides)
        data = prepare(recipe.data.instance.read(), recipe.filter, recipe.split, recipe.seed)
        stride = metrics["asked"]["recommender"]["stride"]
        rows = [row for s in data.training_sequences() for row in naive_next(s.tolist(), form, 12, stride)]

        assert form == metrics["asked"]["recommender"]["windows"]
        for trained in metrics["training"]:  # the teacher, and the student that learns of it
            assert (len(rows), sum(len(targets) for _, targets in rows)) == (trained["windows"], trained["targets"])
        said = f"{len(rows):,} windows with {trained['targets']:,} targets an epoch"
        html, markdown = (path.read_text("utf-8") for path in write_report(folder))
        assert said in html
        assert said in markdown
        assert f"windows = {form}" in markdown


def test_a_model_learns_from_prefixes():
    """Sequences that count up are learnt by prefixes alone."""
    asked = tiny_recommender(layers=1, dropout=0.0, windows="prefixes")
    torch.manual_seed(0)
    model = asked.build(Catalogue(ids=tuple(map(str, range(ITEMS)))), Quiet()).train()
    windows = asked.training_windows([np.arange(start, start + 6, dtype=np.int32) for start in range(ITEMS - 6)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        asked.loss(model, asked.training_batch(windows)).overall.backward()
        optimizer.step()
    model.eval()
    scores = asked.scores(model, asked.example_batch([np.array([7, 8, 9], dtype=np.int32)]))

    assert 10 == int(scores.argmax())
