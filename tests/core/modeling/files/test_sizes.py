import warnings

import pytest
import torch
from torch import nn

from lwa_core.modeling.files.sizes import memory_bytes, parameter_count


def test_parameters_and_buffers_are_counted():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert 12 + 3 + 3 + 3 == parameter_count(model)
    assert 4 * (21 + 3 + 3) + 8 == memory_bytes(model)  # mean and variance, and a count of batches


@pytest.mark.parametrize("bias", [True, False])
def test_weights_that_torch_packs_are_counted_as_the_bytes_that_they_take(bias):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3, bias=bias)), {nn.Linear})
    assert [] == list(model.parameters())
    assert 12 + 3 * bias == parameter_count(model)
    assert 12 + 4 * 3 * bias == memory_bytes(model)
