"""4-bit weights are what their definition says, and a machine that decodes them wrongly is found out."""

import bitsandbytes.functional as bnb
import four_bit
import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.files import quantisation
from lwa_core.modeling.files.quantisation import decode_nf4, decoding_error, nf4_self_check, quantise_nf4
from lwa_core.modeling.files.sizes import memory_bytes, parameter_count
from lwa_core.testing import tiny_probe, tiny_recommender

# Dettmers et al. 2023, QLoRA, appendix E.
NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]


@pytest.fixture
def faulty(monkeypatch):
    monkeypatch.setattr(bnb, "dequantize_4bit", four_bit.faulty)


@pytest.fixture
def right(monkeypatch):
    monkeypatch.setattr(bnb, "dequantize_4bit", four_bit.right)


def layered(width=64, layers=2):
    return tiny_probe(tiny_recommender(width=width, layers=layers)).model


@pytest.mark.parametrize("shape", [(8, 64), (5, 48), (3, 7), (130, 132)])
def test_decodes_code_book_entry_times_scale(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed, state = bnb.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")

    decoded = decode_nf4(packed, state)

    np.testing.assert_allclose(state.code, NF4, rtol=1e-6)
    torch.testing.assert_close(decoded, four_bit.decode(packed, state), rtol=1e-6, atol=1e-7)
    assert decoded.shape == shape


def test_decodes_scales_that_are_not_quantised_themselves():
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    packed, state = bnb.quantize_4bit(weight, blocksize=64, compress_statistics=False, quant_type="nf4")
    codes = four_bit.codes_of(packed)

    expected = [NF4[code] * float(weight.flatten()[i // 64 * 64 :][:64].abs().max()) for i, code in enumerate(codes)]

    np.testing.assert_allclose(decode_nf4(packed, state).flatten(), expected, rtol=1e-6)


def test_every_weight_becomes_the_nearest_entry_of_its_block():
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    packed, state = bnb.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
    scale = weight.abs().amax(dim=1, keepdim=True)
    nearest = (weight[..., None] / scale[..., None] - torch.tensor(NF4)).abs().amin(dim=-1) * scale

    error = (decode_nf4(packed, state) - weight).abs()

    assert float((error - nearest).max()) < 0.02 * float(weight.abs().max())  # the scales' own 8 bits


def test_the_self_check_passes_a_machine_that_decodes_by_the_definition(right):
    assert nf4_self_check(16) < 1e-5
    assert nf4_self_check(48) < 1e-5


@pytest.mark.parametrize(("width", "harmed"), [(16, True), (48, True), (64, False)])
def test_the_self_check_finds_the_fault_where_it_strikes(faulty, width, harmed):
    assert (nf4_self_check(width) > 0.1) == harmed


def test_only_the_layers_are_quantised_and_the_student_stays_as_it_was():
    student = layered()
    before = {name: value.clone() for name, value in student.base.state_dict().items()}

    model, linears, unsafe = quantise_nf4(student)

    four_bits = {name for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    assert unsafe == []
    assert sorted(linears) == sorted(four_bits)
    assert sorted(linears) == sorted(name for name, m in student.base.named_modules() if type(m) is nn.Linear)
    kept = {name: value for name, value in model.state_dict().items() if name in before and "weight" not in name}
    assert all(torch.equal(value, before[name]) for name, value in kept.items())
    assert torch.equal(model.item_embedding.weight, before["item_embedding.weight"])
    assert all(torch.equal(value, before[name]) for name, value in student.base.state_dict().items())


def test_quantised_weights_are_those_of_the_student_within_four_bits():
    student = layered()

    model, linears, _ = quantise_nf4(student)

    for name in linears:
        module = model.get_submodule(name)
        wanted = student.base.get_submodule(name).weight.detach()
        decoded = four_bit.decode(module.weight, module.weight.quant_state)
        # Half the widest gap of the code book, and the error of the scale.
        assert float((decoded - wanted).abs().max()) <= (0.31 / 2 + 0.02) * float(wanted.abs().max())


def test_layers_that_would_be_decoded_wrongly_stay_in_full_precision(faulty):
    student = layered(width=16)

    model, linears, unsafe = quantise_nf4(student)

    assert sorted(unsafe) == sorted(name for name in linears if not name.endswith("down_proj"))  # 64 inputs: safe
    for name in unsafe:
        assert type(model.get_submodule(name)) is nn.Linear
        assert torch.equal(model.get_submodule(name).weight, student.base.get_submodule(name).weight)
    assert type(LayeredModel(model).layers[0].down_proj) is Linear4bit


def test_a_finished_model_that_decodes_wrongly_is_refused(faulty, monkeypatch):
    monkeypatch.setattr(quantisation, "_safe", lambda weight: True)

    with pytest.raises(ModelError, match="decoded wrongly on this machine") as caught:
        quantise_nf4(layered(width=16))

    assert "lwa doctor" in caught.value.hint


def test_the_decoding_error_of_the_fault_is_as_large_as_the_scales_differ(faulty):
    rows = torch.ones(8, 16)
    rows[4:] = 3.0  # block 0 holds rows 0 to 3, block 1 rows 4 to 7; the fault takes block n for row n

    # Rows 1 to 3 are decoded with the scale of block 1: 3 instead of 1, both in 8 bits.
    assert decoding_error(rows) == pytest.approx(2.0, rel=1e-2)


def test_parameters_are_counted_by_what_they_stand_for():
    student = layered()
    width, items, positions = 64, 30, 12
    block = 4 * (width * width + width) + 2 * 2 * width + (4 * width * width + 4 * width) + (4 * width * width + width)
    expected = 2 * block + (items + 1) * width + positions * width + 2 * width

    assert parameter_count(student.base) == expected
    assert parameter_count(quantise_nf4(student)[0]) == expected


def test_memory_is_counted_by_what_lies_in_memory():
    student = layered()
    weights = [module.weight.numel() for module in student.base.modules() if type(module) is nn.Linear]
    rest = 4 * (parameter_count(student.base) - sum(weights))
    code_books = 4 * 16 + 4 * 256

    def four_bit_bytes(n):
        blocks = -(-n // 64)
        return n // 2 + blocks + 4 * -(-blocks // 256) + 4 + code_books  # codes, scales, scales' scales, offset

    assert memory_bytes(student.base) == 4 * parameter_count(student.base)
    assert memory_bytes(quantise_nf4(student)[0]) == rest + sum(map(four_bit_bytes, weights))


def test_buffers_count_as_memory_but_not_as_parameters():
    module = nn.BatchNorm1d(3)  # weight and bias; running mean, running variance, one int64 counter

    assert parameter_count(module) == 6
    assert memory_bytes(module) == 4 * 6 + 4 * 6 + 8
