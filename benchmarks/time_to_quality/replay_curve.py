"""The curve of RePlay's SasRec, in its own environment: `python replay_curve.py FILE.npz SETTINGS SEED`.

With `newer` among the settings it is `replay.nn.sequential.SasRec`, else the older `replay.models.nn.sequential`.
"""

import logging
import warnings
from functools import partial

import lightning
import numpy as np
import pandas as pd
import torch
from curves import TRAINER, Clock, asked, rows_of, width_of
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.models.nn.optimizer_utils import FatOptimizerFactory
from replay.models.nn.sequential.sasrec import SasRec, SasRecTrainingDataset
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.loss import CE
from replay.nn.sequential import LengthBucketedQueryEncoder
from replay.nn.sequential import SasRec as NewerSasRec


class Watch(lightning.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        clock.epoch_ends(pl_module, partial(scores, pl_module))
        pl_module.train()
        trainer.should_stop = bool(clock.over)


class WithoutPadding(CE):
    """The library's loss of the same positions, without computing the logits of padding."""

    def forward(self, model_embeddings, positive_labels, target_padding_mask, **_):
        here = target_padding_mask[..., 0]
        return self._loss(self.logits_callback(model_embeddings[here]), positive_labels[here][:, 0])


class Newer(LightningModule):
    """The newer SasRec, which takes the batches of the older one."""

    def training_step(self, batch):
        named = {"feature_tensors": batch["feature_tensor"], "padding_mask": batch["padding_mask"]}
        targets = {name: batch[name][..., None] for name in ("positive_labels", "target_padding_mask")}
        return super().training_step({**named, **targets, "negative_labels": None})

    def predict(self, batch):
        return self({"feature_tensors": batch["feature_tensor"], "padding_mask": batch["padding_mask"]})["logits"]


def newer(schema):
    network = NewerSasRec.from_params(
        schema,
        embedding_dim=settings["width"],
        num_heads=settings["heads"],
        num_blocks=settings["layers"],
        max_sequence_length=settings["length"],
        dropout=settings["dropout"],
    )
    if settings.get("without_padding"):
        network.loss = WithoutPadding(ignore_index=items)
        network.loss.logits_callback = network.get_logits
        network.body.encoder = LengthBucketedQueryEncoder(network.body.encoder, bucket_size=32)
    return Newer(network, OptimizerFactory(learning_rate=settings["learning_rate"]))


def older(schema):
    return SasRec(
        schema,
        block_count=settings["layers"],
        head_count=settings["heads"],
        hidden_size=settings["width"],
        max_seq_len=settings["length"],
        dropout_rate=settings["dropout"],
        loss_type="CE",
        optimizer_factory=FatOptimizerFactory(learning_rate=settings["learning_rate"]),
    )


def scores(module, histories):
    module.eval()
    x = np.full((len(histories), width_of(histories, settings)), items, dtype=np.int64)  # `items` is padding
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
    clock = Clock(file, settings)
    schema = TensorSchema(feature)
    table = pd.DataFrame({"user": np.arange(len(sequences)), "item": [s.astype(np.int64) for s in sequences]})
    made = PandasSequentialDataset(schema, "user", "item", table)
    dataset = SasRecTrainingDataset(made, max_sequence_length=settings["length"])
    loader = torch.utils.data.DataLoader(dataset, batch_size=settings["batch"], shuffle=True)
    model = newer(schema) if settings.get("newer") else older(schema)
    lightning.Trainer(
        **TRAINER,
        callbacks=[Watch()],
    ).fit(model, loader)
    clock.finish(model, partial(scores, model), "replay-rec")
