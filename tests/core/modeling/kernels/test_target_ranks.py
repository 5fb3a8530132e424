"""Ranks of targets beside counting in plain Python."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.modeling.kernels.target_ranks import left_out_of, target_ranks

# Few values, so that ties are common.
VALUES = st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 1.0, 1.0 + 2**-20, 3e38])


@st.composite
def tables(draw):
    items, rows = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    table = draw(st.lists(st.lists(VALUES, min_size=items, max_size=items), min_size=rows, max_size=rows))
    item = st.integers(0, items - 1)
    targets = draw(st.lists(item, min_size=rows, max_size=rows))
    left_out = draw(st.lists(st.lists(item, max_size=6), min_size=rows, max_size=rows))
    return table, targets, left_out


def naive(row, target, left_out):
    if target in left_out or row[target] == -math.inf:
        return 0, 0
    others = [row[item] for item in range(len(row)) if item != target and item not in left_out]
    tied = others.count(row[target])
    return 1 + sum(other > row[target] for other in others) + tied, tied


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@given(case=tables(), filtered=st.booleans())
def test_agrees_with_counting(kind, case, filtered):
    table, targets, left_out = case
    scores = torch.tensor(table, dtype=kind)
    rows = [np.array(row, dtype=np.int32) for row in left_out]
    out = left_out_of(rows, torch.tensor(targets)) if filtered else None

    found = target_ranks(scores, torch.tensor(targets), out)

    gone = left_out if filtered else [[]] * len(table)
    expected = [naive(row.tolist(), *rest) for row, *rest in zip(scores, targets, gone, strict=True)]
    assert expected == list(zip(*(values.tolist() for values in found), strict=True))


def test_half_precision_counts_of_a_large_catalogue_are_exact():
    """A sum of ones in bfloat16 would stop at 256."""
    scores = torch.zeros(1, 70001, dtype=torch.bfloat16)
    scores[0, :30000] = 1.0

    assert (70001, 40000) == tuple(int(found) for found in target_ranks(scores, torch.tensor([50000])))
