"""Selections whose best sets are known: a made-up table of utilities in the place of a model."""

import itertools
from contextlib import nullcontext

import attrs
import numpy as np

from lwa_core import LayerCosts, LayerScores, ScoreBoard
from lwa_core.pipeline.stages.selection import TeacherSelection


class TableProbe:
    """Answers as `Probe` does, from a table (2^depth, examples) whose row numbers have the bits of the kept layers."""

    utility = "loss"

    def __init__(self, table, gradients=None):
        self.table, self.gradients = np.asarray(table, dtype=float), gradients
        self.depth, self.examples = len(self.table).bit_length() - 1, self.table.shape[1]
        self.asked, self.cost, self.asked_all = [], 0.0, False

    def evaluate(self, keeps, utility=None):
        self.asked += [tuple(kept) for kept in keeps]
        return np.stack([self.table[number(kept)] for kept in keeps])

    def unanswered(self, keeps):
        return np.array([np.isinf(self.table[number(kept)]).sum() for kept in keeps])

    def holding(self):
        return nullcontext()

    def subsets(self):
        return [kept for _, kept in sorted((number(kept), kept) for kept in all_subsets(self.depth))]

    def gate_gradients(self):
        return self.gradients


@attrs.frozen
class Planted:
    """A selection from a table, or from a real probe, with made-up costs of the layers."""

    probe: object
    costs: tuple = ()
    base: float = 1.0
    seed: int = 0

    def selection(self):
        depth = self.probe.depth
        board = ScoreBoard({"random": LayerScores("random", np.zeros((1, depth)))})
        made = TeacherSelection(depth=depth, seed=self.seed, board=board, make_probe=lambda: self.probe)
        if self.costs:
            made._costs["parameters"] = LayerCosts("parameters", self.costs, self.base)
        return made


def number(kept):
    return sum(1 << layer for layer in kept)


def all_subsets(depth):
    return [kept for size in range(depth + 1) for kept in itertools.combinations(range(depth), size)]


REDUNDANT = (5.0, 0.1, 0.1, 3.0, 0.3, 4.0)


def redundant_pair(examples=40, seed=0):
    """Six layers; to lose one costs what REDUNDANT says, but 1 and 2 stand in for each other: to lose both costs 10.

    One at a time, 1 and 2 are the layers that can best be spared. Of two, 4 and one of the pair have to go.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(64)
    for kept in all_subsets(6):
        lost = [layer for layer in range(6) if layer not in kept]
        means[number(kept)] = -sum(REDUNDANT[layer] for layer in lost) - (10 if {1, 2} <= set(lost) else 0)
    return means[:, None] + rng.normal(size=(1, examples))  # the examples differ in level, not in what a layer costs


def redundant_gates(examples=64):
    """Gate gradients (examples, 6) whose products Γ make 1 and 2 add up: each costs ½, both 2, and 4 costs 0.6."""
    rng = np.random.default_rng(1)
    independent, _ = np.linalg.qr(np.column_stack([np.ones(examples), rng.normal(size=(examples, 6))]))
    columns = np.sqrt(examples) * independent[:, 1:]  # means of 0, and the identity as Γ
    sizes = np.sqrt([8.0, 1.0, 1.0, 6.0, 1.2, 7.0])
    gradients = columns * sizes
    gradients[:, 2] = gradients[:, 1]
    return gradients
