"""One epoch of RePlay's SasRec: `python replay_epoch.py sequences.npz LENGTH`, in its own environment."""

import json
import logging
import sys
import time
import warnings
from itertools import pairwise

import lightning
import numpy as np
import pandas as pd
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.models.nn.optimizer_utils import FatOptimizerFactory
from replay.models.nn.sequential.sasrec import SasRec, SasRecTrainingDataset

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    file, length = np.load(sys.argv[1]), int(sys.argv[2])
    offsets, items = file["offsets"], file["items"]
    feature = TensorFeatureInfo(
        name="item",
        cardinality=int(items.max()) + 1,
        padding_value=int(items.max()) + 1,
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item")],
        feature_hint=FeatureHint.ITEM_ID,
        embedding_dim=64,
    )
    begin = time.process_time()
    schema = TensorSchema(feature)
    rows = [items[a:b].astype(np.int64) for a, b in pairwise(offsets)]
    table = pd.DataFrame({"user": np.arange(len(rows)), "item": rows})
    dataset = SasRecTrainingDataset(PandasSequentialDataset(schema, "user", "item", table), max_sequence_length=length)
    loader = torch.utils.data.DataLoader(dataset, batch_size=128, shuffle=True)
    model = SasRec(
        schema,
        block_count=2,
        head_count=2,
        hidden_size=64,
        max_seq_len=length,
        dropout_rate=0.2,
        loss_type="CE",
        optimizer_factory=FatOptimizerFactory(learning_rate=1e-3),
    )
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    spent = time.process_time() - begin
    targets = int(np.minimum(np.diff(offsets) - 1, length).sum())
    print(json.dumps({"cpu_s": spent, "targets": targets, "torch": torch.__version__}))
