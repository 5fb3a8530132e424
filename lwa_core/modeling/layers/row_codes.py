"""Matrices kept as whole numbers of 8 or 4 bits with scales, and the modules that stand in for those that hold them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

BLOCK = 64
"""Numbers of a row that share a scale; the last block of a row may be shorter."""
SHRUNK = tuple(1 - step / 20 for step in range(9))
"""What the largest magnitude of a block is multiplied by before it becomes the largest code: the best is kept."""


class RowCodes(nn.Module):
    """A matrix (rows, columns), each block of a row as whole numbers times a scale; rounded to the nearest.

    Args:
        rows: Of the matrix.
        columns: Of the matrix.
        bits: 8, or 4, which go two to a byte.
    """

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, rows: int, columns: int, bits: int) -> None:
        super().__init__()
        self.shape, self.bits = torch.Size((rows, columns)), bits
        self.precision = torch.float32
        width = columns if bits == 8 else -(-columns // 2)
        self.register_buffer("codes", torch.zeros(rows, width, dtype=torch.int8 if bits == 8 else torch.uint8))
        self.register_buffer("scales", torch.zeros(rows, -(-columns // BLOCK)))

    def keep(self, matrix: torch.Tensor) -> None:
        """Take the codes of a matrix: of each block those of the shrinkage with the smallest squared error."""
        self.precision = matrix.dtype
        values = _blocks(matrix.detach().to(self.scales))
        most = 2 ** (self.bits - 1) - 1
        largest = values.abs().amax(dim=2)
        best = torch.full_like(largest, torch.inf)
        codes = torch.zeros_like(values)
        for share in SHRUNK:
            scale = largest * share / most
            tried = (values / scale[:, :, None].clamp(min=torch.finfo(scale.dtype).tiny)).round().clamp(-most, most)
            error = (tried * scale[:, :, None] - values).square().sum(dim=2)
            better = error < best
            best = torch.where(better, error, best)
            codes = torch.where(better[:, :, None], tried, codes)
            self.scales.copy_(torch.where(better, scale, self.scales))
        flat = codes.flatten(1)[:, : self.shape[1]].to(torch.int8)
        self.codes.copy_(flat if self.bits == 8 else _packed(flat))

    @property
    def weight(self) -> torch.Tensor:
        """The matrix that the codes stand for (rows, columns)."""
        return self.rows(slice(None))

    def rows(self, which: slice | torch.Tensor) -> torch.Tensor:
        """Some of its rows (rows, columns)."""
        codes = self.codes[which]
        flat = codes if self.bits == 8 else _unpacked(codes)[:, : self.shape[1]]
        decoded = _blocks(flat.to(self.scales)) * self.scales[which][:, :, None]
        return decoded.flatten(1)[:, : self.shape[1]].to(self.precision)


class CodedLinear(RowCodes):
    """A linear map whose weight is kept in codes and decoded when it is used."""

    def __init__(self, inputs: int, outputs: int, bits: int, *, bias: bool) -> None:
        super().__init__(outputs, inputs, bits)
        self.in_features, self.out_features = inputs, outputs
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @classmethod
    def of(cls, linear: nn.Linear, bits: int) -> CodedLinear:
        """In the place of a linear map."""
        made = cls(linear.in_features, linear.out_features, bits, bias=linear.bias is not None)
        made.to(linear.weight.device)
        made.keep(linear.weight)
        if made.bias is not None:
            made.bias.data = linear.bias.detach().clone()
        return made

    def plain(self) -> nn.Linear:
        """A linear map with the decoded weight."""
        made = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device=self.codes.device)
        made.weight.data = self.weight
        if self.bias is not None:
            made.bias.data = self.bias.detach().clone()
        return made

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return F.linear(states, self.weight, self.bias)


class CodedEmbedding(RowCodes):
    """A table whose rows are kept in codes; those that are looked up are decoded."""

    @classmethod
    def of(cls, table: nn.Embedding, bits: int) -> CodedEmbedding:
        """In the place of a table."""
        made = cls(table.num_embeddings, table.embedding_dim, bits).to(table.weight.device)
        made.keep(table.weight)
        return made

    def plain(self) -> nn.Embedding:
        """A table with the decoded rows."""
        made: nn.Embedding = nn.Embedding.from_pretrained(self.weight, freeze=False)
        return made

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.rows(ids.flatten()).view(*ids.shape, -1)


def coded(model: nn.Module) -> dict[str, CodedLinear | CodedEmbedding]:
    """The modules of a model that keep their matrix in codes, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, CodedLinear | CodedEmbedding)}


def _blocks(matrix: torch.Tensor) -> torch.Tensor:
    """(rows, columns) -> (rows, blocks, BLOCK), the last one filled with zeros."""
    return F.pad(matrix, (0, -matrix.shape[1] % BLOCK)).view(len(matrix), -1, BLOCK)


def _packed(codes: torch.Tensor) -> torch.Tensor:
    """Codes of -7 to 7 (rows, columns), two to a byte, the first in the high bits."""
    shifted = F.pad(codes + 8, (0, codes.shape[1] % 2)).to(torch.uint8)
    return (shifted[:, ::2] << 4) | shifted[:, 1::2]


def _unpacked(packed: torch.Tensor) -> torch.Tensor:
    return torch.stack([packed >> 4, packed & 15], dim=2).flatten(1).to(torch.int8) - 8
