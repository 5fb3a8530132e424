"""Small data for the tests of this folder."""

import numpy as np
import torch

from lwa_core.data import Catalogue, Examples, PreparedData
from lwa_core.data.dataset import concatenate


def catalogue(items, categories=None):
    return Catalogue(tuple(f"i{n}" for n in range(items)), categories=categories)


def leave_last_out(sequences, items):
    """Prepared data whose test targets are the last items of the sequences, all before them training."""
    flat, offsets = concatenate([np.array(s, dtype=np.int32) for s in sequences])
    users = np.flatnonzero(np.diff(offsets) > 0)
    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return PreparedData(
        catalogue(items),
        tuple(f"u{n}" for n in range(len(sequences))),
        flat,
        offsets,
        np.maximum(offsets[1:] - 1, offsets[:-1]),
        validation=none,
        calibration=none,
        test=Examples(users.astype(np.int64), (offsets[1:] - 1)[users]),
    )


def by_history(table, data):
    """A scorer that gives a history its own row: that of the first test example which has it; and the rows used."""
    rows = {}
    for history, row in zip(data.histories(data.test), np.asarray(table), strict=True):
        rows.setdefault(tuple(history.tolist()), row)
    used = np.stack([rows[tuple(history.tolist())] for history in data.histories(data.test)])

    def scores(histories):
        return torch.from_numpy(np.stack([rows[tuple(history.tolist())] for history in histories]))

    return scores, used
