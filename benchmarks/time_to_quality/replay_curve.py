"""The curve of RePlay's SasRec, in its own environment: `python replay_curve.py FILE.npz SETTINGS SEED`."""

import json
import logging
import warnings

import lightning
import numpy as np
import pandas as pd
import torch
from curves import TRAINER, Clock, asked, rows_of
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.models.nn.optimizer_utils import FatOptimizerFactory
from replay.models.nn.sequential.sasrec import SasRec, SasRecTrainingDataset


class Watch(lightning.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.eval()
        clock.epoch_ends(lambda histories: scores(pl_module, histories))
        pl_module.train()
        trainer.should_stop = clock.rows[-1]["training_s"] > settings["seconds"]


def scores(module, histories):
    x = np.full((len(histories), settings["length"]), items, dtype=np.int64)  # `items` is padding
    for row, history in enumerate(histories):
        inside = history[-settings["length"] :]
        x[row, len(x[row]) - len(inside) :] = inside
    ids = torch.from_numpy(x)
    return module.predict({"feature_tensor": {"item": ids}, "padding_mask": ids != items})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    file, settings = asked()
    items, sequences = int(file["items"]), rows_of(file, "training")
    feature = TensorFeatureInfo(
        name="item",
        cardinality=items,
        padding_value=items,
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item")],
        feature_hint=FeatureHint.ITEM_ID,
        embedding_dim=settings["width"],
    )
    clock = Clock(file)
    schema = TensorSchema(feature)
    table = pd.DataFrame({"user": np.arange(len(sequences)), "item": [s.astype(np.int64) for s in sequences]})
    made = PandasSequentialDataset(schema, "user", "item", table)
    dataset = SasRecTrainingDataset(made, max_sequence_length=settings["length"])
    loader = torch.utils.data.DataLoader(dataset, batch_size=settings["batch"], shuffle=True)
    model = SasRec(
        schema,
        block_count=settings["layers"],
        head_count=settings["heads"],
        hidden_size=settings["width"],
        max_seq_len=settings["length"],
        dropout_rate=settings["dropout"],
        loss_type="CE",
        optimizer_factory=FatOptimizerFactory(learning_rate=settings["learning_rate"]),
    )
    lightning.Trainer(
        **TRAINER,
        callbacks=[Watch()],
    ).fit(model, loader)
    print(json.dumps(clock.rows))
