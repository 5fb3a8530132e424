"""A recommender whose layers are linear maps of fixed features, so that its posterior has closed forms."""

import itertools

import numpy as np
import torch
from torch import nn

from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.probe import Probe


class Chain(nn.Module):
    """Linear maps, one after the other: features (examples, 1, in) -> logits or a prediction (examples, 1, out)."""

    def __init__(self, *sizes, bias=True):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(sizes)])
        self.double()

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class FeatureRecommender:
    """The last item of a history names the row of features that the model is given."""

    def __init__(self, features):
        self.features = features

    def example_batch(self, histories, targets=None):
        rows = torch.tensor([int(history[-1]) for history in histories])
        batch = {"x": self.features[rows][:, None], "attention_mask": torch.ones(len(rows), 1, dtype=torch.bool)}
        return batch if targets is None else {**batch, "labels": torch.from_numpy(targets)[:, None] + 1}

    def encode(self, model, batch):
        return model(batch["x"])[:, 0], batch.get("targets")


class SoftmaxRegression(FeatureRecommender):
    """The model's output are the logits."""

    def head(self, model, hidden):
        return hidden


def softmax_probe(model, features, targets, *, training_targets, batch=64, seed=0):
    histories = [np.array([row], dtype=np.int32) for row in range(len(features))]
    return Probe(
        LayeredModel(model, "blocks"),
        SoftmaxRegression(features),
        histories,
        np.asarray(targets, dtype=np.int64),
        batch=batch,
        seed=seed,
        training_targets=training_targets,
    )


def fitted_regression(examples, *, width=4, items=5, seed=0, ridge=1e-3):
    """A softmax regression fitted to labels that one drew, with new features and labels to look at."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(items, width, generator=generator, dtype=torch.double)

    def drawn(count):
        x = torch.randn(count, width, generator=generator, dtype=torch.double)
        return x, torch.multinomial((x @ truth.T).softmax(dim=1), 1, generator=generator)[:, 0]

    held_out, (x, y) = drawn(300), drawn(examples)
    model = Chain(width, items, bias=False)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y, reduction="sum")
        loss = loss + 0.5 * ridge * model.blocks[0].weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    optimiser.zero_grad()
    return model.eval(), (x, y), held_out
