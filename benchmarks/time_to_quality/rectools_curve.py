"""The curve of RecTools' SASRec, in its own environment: `python rectools_curve.py FILE.npz SETTINGS SEED`."""

import logging
import warnings
from functools import partial

import numpy as np
import pandas as pd
import torch
from curves import TRAINER, Clock, asked, rows_of, width_of
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.ligr import LiGRLayers


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
        network = pl_module.torch_model
        clock.epoch_ends(network, partial(scores, network))
        pl_module.train()
        trainer.should_stop = bool(clock.over)


class WithoutPadding(TransformerLightningModule):
    """The library's loss of the same positions, without computing what padding leaves out of it.

    Sessions of like length are encoded together. Padding is masked and positions are counted from the end, so that the
    states are the same.
    """

    def training_step(self, batch, batch_idx):
        network, states, parts = self.torch_model, [], []
        table = network.item_model.get_all_embeddings()
        lengths = (batch["x"] != 0).sum(dim=1)
        for rows in lengths.argsort().chunk(4):
            part = {name: value[rows, -int(lengths[rows].max()) :] for name, value in batch.items()}
            here = part["y"] != 0
            states.append(network.encode_sessions(part, table)[here])
            parts.append({name: value[here] for name, value in part.items()})
        part = {name: torch.cat([each[name] for each in parts])[None] for name in batch}  # (1, targets, ...)
        chosen = torch.cat([part["y"][..., None], part["negatives"]], dim=-1) if "negatives" in part else None
        logits = network.similarity_module(torch.cat(states)[None], table, chosen)
        return self.loss_calculator(logits, part["y"], part["yw"])


def scores(network, histories):
    """By its own encoder and item embeddings; items that it has not met in training cannot be recommended by it."""
    network.eval()
    known = model.data_preparator.item_id_map
    place = np.zeros(items, dtype=np.int64)  # 0 is padding
    met = model.data_preparator.get_known_item_ids().astype(np.int64)
    place[met] = known.convert_to_internal(met)
    x = np.zeros((len(histories), width_of(histories, settings)), dtype=np.int64)
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
    more = {}
    if settings.get("block") == "ligr":
        wide = {"ff_factors_multiplier": settings["feed_forward"]}
        more |= {"transformer_layers_type": LiGRLayers, "transformer_layers_kwargs": wide, "use_key_padding_mask": True}
        if settings.get("without_padding"):
            more["lightning_module_type"] = WithoutPadding
    if "negatives" in settings:
        more["n_negatives"] = settings["negatives"]
    model = SASRecModel(
        **more,
        n_factors=settings["width"],
        n_blocks=settings["layers"],
        n_heads=settings["heads"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["length"],
        loss=settings.get("loss", "softmax"),
        lr=settings["learning_rate"],
        batch_size=settings["batch"],
        get_trainer_func=lambda: Trainer(
            **TRAINER,
            callbacks=[Watch()],
        ),
    )
    clock = Clock(file, settings)
    model.fit(Dataset.construct(frame(sequences)))
    clock.finish(model.torch_model, partial(scores, model.torch_model), "rectools")
