"""The curve of RecTools' SASRec, in its own environment: `python rectools_curve.py FILE.npz SETTINGS SEED`."""

import json
import logging
import warnings

import numpy as np
import pandas as pd
import torch
from curves import TRAINER, Clock, asked, rows_of
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def frame(sequences):
    lengths = [len(sequence) for sequence in sequences]
    place = np.arange(sum(lengths))
    return pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(sequences)), lengths),
            Columns.Item: np.concatenate(sequences),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(place, unit="s"),
        }
    )


class Watch(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        clock.epoch_ends(lambda histories: scores(pl_module.torch_model, histories))
        pl_module.train()
        trainer.should_stop = clock.rows[-1]["training_s"] > settings["seconds"]


def scores(network, histories):
    """By its own encoder and item embeddings; items that it has not met in training cannot be recommended by it."""
    network.eval()
    known = model.data_preparator.item_id_map
    place = np.zeros(items, dtype=np.int64)  # 0 is padding
    met = model.data_preparator.get_known_item_ids().astype(np.int64)
    place[met] = known.convert_to_internal(met)
    x = np.zeros((len(histories), settings["length"]), dtype=np.int64)
    for row, history in enumerate(histories):
        inside = [item for item in place[history] if item][-settings["length"] :]
        x[row, len(x[row]) - len(inside) :] = inside
    table = network.item_model.get_all_embeddings()
    states = network.encode_sessions({"x": torch.from_numpy(x)}, table)[:, -1]
    found = torch.full((len(histories), items), -torch.inf)
    found[:, met] = (states @ table.T)[:, place[met]]
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    file, settings = asked()
    items, sequences = int(file["items"]), rows_of(file, "training")
    model = SASRecModel(
        n_factors=settings["width"],
        n_blocks=settings["layers"],
        n_heads=settings["heads"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["length"],
        loss="softmax",
        lr=settings["learning_rate"],
        batch_size=settings["batch"],
        get_trainer_func=lambda: Trainer(
            **TRAINER,
            callbacks=[Watch()],
        ),
    )
    clock = Clock(file)
    model.fit(Dataset.construct(frame(sequences)))
    print(json.dumps(clock.rows))
