"""One epoch of RecTools' SASRec: `python rectools_epoch.py sequences.npz LENGTH`, in its own environment."""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    file, length = np.load(sys.argv[1]), int(sys.argv[2])
    lengths = np.diff(file["offsets"])
    place = np.arange(len(file["items"]))
    table = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: file["items"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(place, unit="s"),
        }
    )
    begin = time.process_time()
    model = SASRecModel(
        n_factors=64,
        n_blocks=2,
        n_heads=2,
        dropout_rate=0.2,
        session_max_len=length,
        loss="softmax",
        lr=1e-3,
        batch_size=128,
        epochs=1,
    )
    model.fit(Dataset.construct(table))
    spent = time.process_time() - begin
    targets = int(np.minimum(lengths - 1, length).sum())
    print(json.dumps({"cpu_s": spent, "targets": targets, "torch": torch.__version__}))
