"""Heads for encoders that have none: an index of vectors, or a classifier fitted to the training texts."""

from __future__ import annotations

import numpy as np
import torch

from lwa_core.errors import DataError
from lwa_core.text.parts import TextData
from lwa_core.text.quality import Measuring
from lwa_core.text.subject import Head, TextModel


def index_head(asked: TextModel, data: TextData, length: int, batch: int, temperature: float) -> Head:
    """Cosines with the vectors that the full model gives every text of the index, over the temperature.

    The index stays as it is when layers are left out: what is asked is whether a cheaper encoder of queries still finds
    what the full one would. Held-out quality also measures the index that the cheaper one makes itself.
    """
    vectors = Measuring(asked, data, length, batch, 0, None)
    with torch.no_grad():
        return Head(vectors.vectors(list(data.corpus)), scale=1 / temperature, unit=True)


def fitted_head(asked: TextModel, data: TextData, length: int, batch: int) -> Head:
    """A multinomial logistic regression on the full model's vectors of the training texts (scikit-learn's).

    Raises:
        DataError: There are no training texts, or all have one label.
    """
    from sklearn.linear_model import LogisticRegression

    texts = data["train"]
    labels = [str(text.label) for text in texts]
    names = sorted(set(labels))
    if len(names) < 2:
        hint = "leave a share of the texts for training, with every label in it"
        raise DataError("a classifier needs training texts of two labels at least", file=data.file, hint=hint)
    with torch.no_grad():
        vectors = Measuring(asked, data, length, batch, 0, None).vectors([text.text for text in texts]).double().numpy()
    fitted = LogisticRegression(max_iter=2000).fit(vectors, np.array([names.index(label) for label in labels]))
    weights, bias = fitted.coef_, fitted.intercept_
    if len(names) == 2:  # one row of weights for the second class
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    unit = torch.from_numpy(weights).float(), torch.from_numpy(bias).float()
    return Head(unit[0], unit[1], unit=True, names=tuple(names))
