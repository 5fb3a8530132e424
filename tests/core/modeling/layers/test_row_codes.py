"""Codes of rows, against rounding written out, and the modules that hold them."""

import numpy as np
import pytest
import torch

from lwa_core.modeling.files.sizes import memory_bytes, parameter_count
from lwa_core.modeling.layers.row_codes import BLOCK, SHRUNK, CodedEmbedding, CodedLinear, RowCodes


def matrix(rows=7, columns=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * torch.randn(rows, 1, generator=generator).exp()


def rounded(values, bits):
    """Block by block, number by number."""
    most, made = 2 ** (bits - 1) - 1, np.zeros_like(values)
    for row in range(len(values)):
        for start in range(0, values.shape[1], BLOCK):
            block = values[row, start : start + BLOCK]
            tries = []
            for share in SHRUNK:
                scale = np.float32(np.float32(np.abs(block).max()) * np.float32(share)) / np.float32(most)
                codes = np.clip(np.rint(block / max(scale, np.finfo(np.float32).tiny)), -most, most)
                tries.append(codes * scale)
            errors = [((tried - block) ** 2).sum() for tried in tries]
            made[row, start : start + BLOCK] = tries[int(np.argmin(errors))]
    return made


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", [1, 63, 64, 65, 100])
def test_codes_stand_for_the_rounded_matrix(bits, columns):
    own = matrix(columns=columns)
    codes = RowCodes(*own.shape, bits)
    codes.keep(own)

    np.testing.assert_allclose(codes.weight.numpy(), rounded(own.numpy(), bits), rtol=1e-5, atol=1e-7)
    assert torch.equal(codes.rows(torch.tensor([3, 0, 3])), codes.weight[[3, 0, 3]])


@pytest.mark.parametrize(("bits", "relative"), [(8, 0.01), (4, 0.12)])
def test_the_error_is_that_of_so_many_bits(bits, relative):
    own = matrix(200, 128)
    codes = RowCodes(*own.shape, bits)
    codes.keep(own)

    assert float((codes.weight - own).norm() / own.norm()) < relative


def test_zeros_stay_zeros():
    codes = RowCodes(2, 70, 4)
    codes.keep(torch.zeros(2, 70))

    assert torch.count_nonzero(codes.weight) == 0


@pytest.mark.parametrize("bits", [8, 4])
def test_modules_answer_as_the_plain_ones_with_the_decoded_matrix(bits):
    torch.manual_seed(0)
    linear, table = torch.nn.Linear(30, 5), torch.nn.Embedding(9, 30, padding_idx=0)
    one, other = CodedLinear.of(linear, bits), CodedEmbedding.of(table, bits)
    states, ids = torch.randn(2, 3, 30), torch.tensor([[0, 8], [8, 1]])

    assert torch.equal(one(states), one.plain()(states))
    assert torch.equal(other(ids), other.plain()(ids))
    assert torch.equal(one.plain().bias, linear.bias)
    assert torch.count_nonzero(other(ids)[0, 0]) == 0


def test_half_precision_stays_so():
    linear = torch.nn.Linear(30, 5, dtype=torch.bfloat16)

    assert CodedLinear.of(linear, 8)(torch.randn(2, 30, dtype=torch.bfloat16)).dtype is torch.bfloat16


@pytest.mark.parametrize(("bits", "share"), [(8, (1 + 4 / 64) / 4), (4, (0.5 + 4 / 64) / 4)])
def test_they_are_counted_as_what_they_stand_for_and_weighed_as_what_they_are(bits, share):
    table = torch.nn.Embedding(1000, 64)
    made = CodedEmbedding.of(table, bits)

    assert parameter_count(made) == parameter_count(table) == 64_000
    assert memory_bytes(made) == pytest.approx(share * memory_bytes(table))
