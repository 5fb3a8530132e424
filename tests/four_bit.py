"""Stand-ins for bitsandbytes' decoder: one from the definition, one with the fault of its AVX512 branch."""

import torch

BLOCK = 64


def scales_of(state):
    """The scale of every block, from the double quantisation."""
    inner = state.state2
    return [
        float(inner.code[int(code)]) * float(inner.absmax[i // inner.blocksize]) + float(state.offset)
        for i, code in enumerate(state.absmax)
    ]


def codes_of(packed):
    """The 4-bit codes, the first of a byte in its high bits."""
    return [half for byte in packed.flatten().tolist() for half in (byte >> 4, byte & 15)]


def decode(packed, state, rowwise=False):
    """Code book entry times scale, element by element; `rowwise` starts the blocks anew with every row.

    That is what bitsandbytes 0.50 does on AVX512 processors where the width is no multiple of the block size.
    """
    scales, width = scales_of(state), state.shape[-1]
    values = []
    for place, code in enumerate(codes_of(packed)[: state.shape.numel()]):
        row, column = divmod(place, width)
        block = row * -(-width // BLOCK) + column // BLOCK if rowwise and width % BLOCK else place // BLOCK
        values.append(float(state.code[code]) * scales[min(block, len(scales) - 1)])
    return torch.tensor(values).reshape(state.shape)


def right(packed, state, *_, **__):
    return decode(packed, state)


def faulty(packed, state, *_, **__):
    return decode(packed, state, rowwise=True)
