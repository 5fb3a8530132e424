"""Blocks that hand on more than their states, by every way there is, and what they answer by a plain loop."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from lwa_core import LayeredModel, Probe

WAYS = ("argument", "object", "second output", "module", "global")
DEPTH, WIDTH, ITEMS = 6, 4, 7

_LEFT = {}


class Sharing(nn.Linear):
    """h + W h + c, where c is what the layer two before it has left: W h of that one."""

    def __init__(self, number, way):
        super().__init__(WIDTH, WIDTH)
        self.number, self.way, self.others = number, way, []

    def forward(self, hidden_states, carried=None):
        made = super().forward(hidden_states)
        read = self.number - 2
        if self.way == "second output":
            out = hidden_states + made + (carried[0] if carried is not None else 0)
            return out, (carried[1] if carried is not None else torch.zeros_like(made), made)
        left = {"argument": carried, "object": carried, "module": self, "global": _LEFT}[self.way]
        left = left if isinstance(left, dict) else vars(left).setdefault("left", {})
        if self.way == "module" and read >= 0:
            left = vars(self.others[0][read])["left"]
        out = hidden_states + made + (left[read] if read >= 0 else 0)
        (vars(self).setdefault("left", {}) if self.way == "module" else left)[self.number] = made
        return out


class Model(nn.Module):
    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.embedding = nn.Embedding(ITEMS + 1, WIDTH)
        self.blocks = nn.ModuleList([Sharing(number, way) for number in range(DEPTH)])
        for block in self.blocks:
            block.others.append(list(self.blocks))  # in a list, so that they are no submodules
        self.out = nn.Linear(WIDTH, ITEMS)

    def forward(self, ids):
        hidden = self.embedding(ids)
        carried = {"argument": {}, "object": SimpleNamespace()}.get(self.way)
        for block in self.blocks:
            given = block(hidden) if carried is None and self.way != "second output" else block(hidden, carried)
            hidden, carried = given if self.way == "second output" else (given, carried)
        return hidden


class Subject:
    def example_batch(self, histories, targets=None):
        width = max(map(len, histories))
        ids = torch.zeros(len(histories), width, dtype=torch.long)
        labels, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, history in enumerate(histories):
            ids[row, : len(history)] = torch.from_numpy(history.astype("int64")) + 1
            mask[row, : len(history)] = 1
            labels[row, len(history) - 1] = 0 if targets is None else int(targets[row]) + 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def encode(self, model, batch):
        asked = batch["labels"] > 0
        return model(batch["input_ids"])[asked], batch["labels"][asked] - 1

    def head(self, model, hidden):
        return model.out(hidden)


def histories_of(lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(0, ITEMS, length).astype(np.int32) for length in lengths]


def sharing_probe(way, examples=5):
    histories = histories_of([3 + n % 3 for n in range(examples)])
    return Probe(LayeredModel(Model(way), "blocks"), Subject(), histories, np.arange(examples) % ITEMS, batch=3)


def plain_losses(probe, kept):
    """Loss of each example by a loop over the layers: one that is left out still leaves W h for its reader."""
    model, losses = probe.model.model, []
    with torch.no_grad():
        for history, target in zip(probe.histories, probe.targets, strict=True):
            hidden, left = model.embedding.weight[torch.from_numpy(history.astype("int64")) + 1], {}
            for number, block in enumerate(model.blocks):
                left[number] = hidden @ block.weight.T + block.bias
                if number in kept:
                    hidden = hidden + left[number] + left.get(number - 2, 0)
            losses.append(-float((hidden[-1] @ model.out.weight.T + model.out.bias).log_softmax(0)[target]))
    return np.array(losses)
