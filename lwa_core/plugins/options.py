"""The settings of training that recommenders and compressors share, declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core.settings import setting

if TYPE_CHECKING:
    from lwa_core.types import TrainingSettings


@attrs.frozen
class TrainingOptions:
    """To be inherited from by a component that trains: five settings, and `training()`, which gives them to the core.

    A subclass that wants another default says so by `lwa_core.redefined`.
    """

    epochs: int = setting(
        100, help="most epochs, over which the learning rate falls; early stopping may end before", minimum=0
    )
    batch: int = setting(128, help="training sequences in one batch", minimum=1)
    learning_rate: float = setting(1e-3, help="first learning rate of AdamW; it falls linearly to zero", above=0)
    weight_decay: float = setting(0.0, help="weight decay of AdamW", minimum=0)
    patience: int = setting(10, help="epochs without a better validation NDCG@10 before training stops", minimum=1)

    def training(self) -> TrainingSettings:
        """How the core's loop is to train."""
        from lwa_core.types import TrainingSettings

        return TrainingSettings(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
        )
