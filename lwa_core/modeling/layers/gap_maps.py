"""Least squares over the gaps that a cut leaves: what of them a linear map of some states makes good."""

from __future__ import annotations

import attrs
import torch

from lwa_core.modeling.layers.state_maps import StateMap

FORMS = ("scalar", "diagonal", "least-squares")

RIDGES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Shares of the mean square of a coordinate that are tried."""


@attrs.define(eq=False)
class Moments:
    """What least squares need of the positions that were seen, in float64.

    Wanted is a correction D such that gate ⊙ (D x + c) comes near the gap e. With x̃ = (x, 1):

    Args:
        grams: Σ gate² x̃ x̃ᵀ by coordinate of the gap (1 or width, width + 1, width + 1); one where gates are all 1.
        products: Σ gate x̃ eᵀ (width + 1, width).
        squares: Σ e² (width,).
    """

    grams: torch.Tensor
    products: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def empty(cls, width: int, *, gated: bool = False) -> Moments:
        """Those of no position."""
        zeros = torch.zeros(width if gated else 1, width + 1, width + 1, dtype=torch.float64)
        return cls(zeros, zeros.new_zeros(width + 1, width), zeros.new_zeros(width))

    @property
    def width(self) -> int:
        """Coordinates of the states."""
        return len(self.squares)

    def add(self, states: torch.Tensor, gap: torch.Tensor, gates: torch.Tensor | None = None) -> None:
        """Count positions: states x, gaps e and gates, each (positions, width)."""
        x, e = states.detach().cpu().double(), gap.detach().cpu().double()
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        if gates is None:
            self.grams[0] += x.T @ x
            self.products += x.T @ e
        else:
            g = gates.detach().cpu().double()
            for place, gate in enumerate(g.T):
                weighted = x * gate[:, None]
                self.grams[place] += weighted.T @ weighted
            self.products += x.T @ (g * e)
        self.squares += e.square().sum(dim=0)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.grams + other.grams, self.products + other.products, self.squares + other.squares)

    def error(self, correction: torch.Tensor) -> float:
        """Σ ‖e − gate ⊙ (D x + c)‖² over the positions, for the correction (D, c) (width, width + 1)."""
        mapped = (self.grams @ correction[:, :, None])[:, :, 0] if self.gated else correction @ self.grams[0]
        return float(self.squares.sum() - 2 * (correction.T * self.products).sum() + (correction * mapped).sum())

    @property
    def gated(self) -> bool:
        """Whether each coordinate of the gap has weights of its own."""
        return len(self.grams) == self.width and self.width > 1


def correction(moments: Moments, form: str, ridge: float, *, intercept: bool = True) -> torch.Tensor:
    """The correction (D, c) (width, width + 1) with the least Σ ‖e − gate ⊙ (D x + c)‖² + ridge · s ‖D‖².

    Args:
        moments: Of the positions.
        form: D is a number (`scalar`, without c), a `diagonal`, or any matrix (`least-squares`).
        ridge: In units of s, the mean of Σ (gate x)² over coordinates.
        intercept: Whether there is a c; it is not held down.
    """
    width = moments.width
    own = moments.grams[:, :width, :width].diagonal(dim1=1, dim2=2)  # (1 or width, width)
    unit = float(own.mean().clamp(min=torch.finfo(torch.float64).tiny))
    found = moments.products.new_zeros(width, width + 1)
    if form == "least-squares":
        size = width + 1 if intercept else width
        held = torch.full((size,), ridge * unit, dtype=torch.float64)
        held[width:] = 0
        solved = torch.linalg.solve(
            moments.grams[:, :size, :size] + held.diag(),
            moments.products[:size].T[:, :, None] if moments.gated else moments.products[None, :size],
        )
        found[:, :size] = solved[:, :, 0] if moments.gated else solved[0].T
        return found
    places = torch.arange(width)
    grams = moments.grams.expand(width, -1, -1)
    squares, products = grams[places, places, places], moments.products[places, places]
    if form == "scalar":
        found[places, places] = products.sum() / (squares.sum() + ridge * unit * width)
        return found
    squares = squares + ridge * unit
    if not intercept:
        found[places, places] = products / squares
        return found
    sums, counts, totals = grams[places, places, -1], grams[places, -1, -1], moments.products[-1]
    determinant = squares * counts - sums.square()
    found[places, places] = (counts * products - sums * totals) / determinant
    found[places, -1] = (squares * totals - sums * products) / determinant
    return found


@attrs.frozen(eq=False)
class Fit:
    """A correction, and the share of the gap's squares that is left with it on positions held out."""

    correction: torch.Tensor
    left: float

    @property
    def weight(self) -> torch.Tensor:
        """What the states are multiplied with (width, width)."""
        width = len(self.correction)
        return torch.eye(width, dtype=torch.float64) + self.correction[:, :width]

    @property
    def bias(self) -> torch.Tensor:
        """What is added to that (width,)."""
        return self.correction[:, -1]

    def as_map(self, form: str) -> StateMap:
        """The map, in as many numbers as its form has."""
        if form == "least-squares":
            return StateMap(self.weight, self.bias)
        if form == "diagonal":
            return StateMap(self.weight.diagonal().clone(), self.bias)
        return StateMap(self.weight[0, 0].clone())


def fit(chosen_on: Moments, held_out: Moments, form: str, *, intercept: bool = True) -> Fit:
    """The correction with the ridge that is best on what is held out, then made of all; none where none is better."""
    whole = float(held_out.squares.sum())
    errors = {
        ridge: held_out.error(correction(chosen_on, form, ridge, intercept=intercept)) / whole if whole else 1.0
        for ridge in RIDGES
    }
    best = min(errors, key=lambda ridge: errors[ridge])
    if not errors[best] < 1:
        return Fit(chosen_on.products.new_zeros(chosen_on.width, chosen_on.width + 1), 1.0)
    return Fit(correction(chosen_on + held_out, form, best, intercept=intercept), errors[best])
