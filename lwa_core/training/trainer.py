"""One training loop for fitting, distilling and healing, on transformers.Trainer.

What is added to the Trainer: batches of sequences of similar length, early stopping on a ranking metric, and
checkpoints that are sealed with checksums. A checkpoint that was cut off or damaged is passed over for the one before
it, where the Trainer would crash or silently go on from the wrong state. Checkpoints are written at the end of epochs,
so that resuming needs no position inside one.

With several processes each trains on its part of every batch, and gradients are summed up by `processes`: the Trainer
and accelerate believe that each is alone, and wrap no model. Only the first process evaluates and saves.
"""

from __future__ import annotations

import lwa_core.modeling.libraries  # noqa: F401 -- before transformers is imported

# isort: split
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from lwa_core.errors import ModelError
from lwa_core.modeling.devices import device
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.layers.equivalence import ties
from lwa_core.modeling.libraries import quiet_transformers
from lwa_core.store.places import set_aside
from lwa_core.store.sealing import damage, seal
from lwa_core.training import processes
from lwa_core.types import Batch, History, Reporter, TrainingSettings

METRIC = "ndcg@10"

TARGETS = "lwa_targets"
"""Says in a batch how many targets it has, where it is a part of one; taken out before anyone else sees the batch."""


class LengthBatches(Sampler[list[int]]):
    """Batches of examples of similar length, in an order that depends on the seed and the epoch alone."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch = batch
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        span = 50 * self.batch
        batches = []
        for start in range(0, len(order), span):
            part = order[start : start + span]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[i : i + self.batch].tolist() for i in range(0, len(part), self.batch)]
        return iter([batches[i] for i in rng.permutation(len(batches))])


class Part(Sampler[list[int]]):
    """This process's part of every batch; it may be empty."""

    def __init__(self, whole: LengthBatches) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[list[int]]:
        return (batch[processes.rank() :: processes.world()] for batch in self.whole)


@attrs.frozen
class Trained:
    """What training leaves.

    Args:
        history: JSON-ready, one entry an epoch.
        best_epoch: Whose weights were kept.
        windows: How many windows an epoch has; None where nobody counted.
        targets: How many targets they have together; where targets are drawn, in one drawing.
        share: How much of what the network adds to a table of transitions is heard; None where it adds to none.
    """

    history: list[dict[str, float]]
    best_epoch: int
    windows: int | None = None
    targets: int | None = None
    share: float | None = None


def train(
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
    *,
    windows: Sequence[History],
    collate: Callable[[Sequence[History]], Batch],
    evaluate: Callable[[torch.nn.Module], float],
    settings: TrainingSettings,
    folder: Path,
    seed: int,
    report: Reporter,
    metric: str = METRIC,
    precision: str = "float32",
    stop_after: int | None = None,
) -> Trained:
    """Train `model` in place, and leave it with the weights of its best epoch, in eval mode.

    Args:
        model: A PreTrainedModel or PeftModel; only parameters that require gradients are trained.
        loss: Scalar loss of one batch.
        windows: The training sequences.
        collate: Windows -> batch.
        evaluate: Quality of the model on validation examples, higher is better; called after every epoch.
        settings: Epochs, batch size, learning rate.
        folder: Where checkpoints go. If it holds some, training goes on from the newest undamaged one.
        seed: Of the batch order and dropout.
        report: Gets the progress.
        metric: What the history calls that quality.
        precision: `bfloat16` computes the loss in it where torch's autocast holds that to be safe; the weights that are
            trained are float32 all the same.
        stop_after: Ask for no quality, and keep what this epoch leaves: it was chosen before. The learning rate falls
            as if all epochs were to come, as it did then.

    Raises:
        ModelError: The loss is no longer finite.
    """
    if settings.epochs == 0 or not windows:
        model.eval()
        return Trained([], 0)
    sampler = LengthBatches([len(window) for window in windows], settings.batch, seed)
    last = settings.epochs if stop_after is None else min(stop_after, settings.epochs)
    watch = _Watch(settings, last, sampler, folder, report)
    processes.start_alike([parameter for parameter in model.parameters() if parameter.requires_grad])
    with quiet_transformers():
        trainer = _Trainer(
            model=model,
            args=_arguments(settings, folder, seed, evaluated=stop_after is None),
            train_dataset=list(windows),
            eval_dataset=[None],  # the Trainer insists on one; `evaluate` below does not use it
            data_collator=collate if processes.world() == 1 else partial(_part, collate, windows[:1]),
            callbacks=[watch],
        )
    trainer.lwa_loss, trainer.lwa_evaluate, trainer.lwa_sampler = loss, evaluate, sampler
    trainer.lwa_precision = precision
    trainer.remove_callback(PrinterCallback)  # our own report says it
    newest = _newest_checkpoint(folder, report)
    if newest is None or not _finished(_history(newest), settings, last):
        with quiet_transformers():
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        newest = _newest_checkpoint(folder, report)
    if newest is None:
        raise ModelError(f"training left no readable checkpoint in {folder}", "run the same command again")
    history = _history(newest)
    best = _best(history)
    _load_weights(model, folder / f"checkpoint-{int(best['step'])}")
    model.eval()
    told = [{metric if k == METRIC else k: v for k, v in entry.items() if k != "step"} for entry in history]
    return Trained(told, int(best["epoch"]))


class _Arguments(TrainingArguments):  # type: ignore[misc]  # transformers is untyped
    """TrainingArguments for one device, which is ours."""

    @cached_property
    def _setup_devices(self) -> torch.device:
        super()._setup_devices  # noqa: B018 -- it sets accelerate up, takes the first GPU, and would train on all
        if device().type == "cuda":
            torch.cuda.set_device(device())
        self._n_gpu = int(device().type == "cuda")
        return device()


def _arguments(settings: TrainingSettings, folder: Path, seed: int, *, evaluated: bool) -> TrainingArguments:
    return _Arguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        eval_strategy="epoch" if evaluated else "no",
        save_strategy="epoch",
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        seed=seed,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=device().type == "cpu",
    )


class _Trainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """Trainer with our batches, loss and metric."""

    lwa_loss: Callable[[torch.nn.Module, Batch], torch.Tensor]
    lwa_evaluate: Callable[[torch.nn.Module], float]
    lwa_sampler: LengthBatches
    lwa_precision: str
    lwa_targets: float
    control: Any

    def get_train_dataloader(self) -> DataLoader[Any]:
        sampler = self.lwa_sampler if processes.world() == 1 else Part(self.lwa_sampler)
        loader: DataLoader[Any] = DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(
        self, model: torch.nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        half = self.lwa_precision == "bfloat16"
        kind = next(iter(inputs.values())).device.type
        with torch.autocast(kind, torch.bfloat16) if half else fast_linear_maps():
            loss = self.lwa_loss(model, inputs)
        return loss if processes.world() == 1 else loss * self.lwa_targets

    def training_step(self, model: torch.nn.Module, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One step; with several processes each adds the gradient of the sum over its own targets."""
        self.lwa_targets = float(inputs.pop(TARGETS, 0))
        own: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        if processes.world() == 1:
            return own
        targets, loss = processes.agree(self.lwa_targets, float(own))
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        processes.sum_gradients(trained, 1 / max(targets, 1.0))
        return own.new_tensor(loss / max(targets, 1.0))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if processes.world() == 1:  # else each epoch begins with a state of its own
            super()._load_rng_state(checkpoint)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        if processes.is_first():
            super()._save_checkpoint(*args, **kwargs)

    def floating_point_ops(self, inputs: Batch) -> int:
        return 0

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            metrics = {f"eval_{METRIC}": processes.from_first(lambda: self.lwa_evaluate(self.model))}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Reports progress, sets the epoch of the batches, stops early, seals and thins out the checkpoints."""

    def __init__(
        self, settings: TrainingSettings, last: int, sampler: LengthBatches, folder: Path, report: Reporter
    ) -> None:
        self.settings, self.last, self.sampler, self.folder, self.report = settings, last, sampler, folder, report

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.epoch = round(state.epoch or 0)
        if processes.world() > 1:  # each draws its own dropout, and the same again when training goes on from here
            drawn = np.random.SeedSequence([self.sampler.seed, self.sampler.epoch, processes.rank()]).generate_state(1)
            set_seed(int(drawn[0]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.report.progress(state.global_step, state.max_steps, f"epoch {math.ceil(state.epoch)}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError("the training loss is no longer finite", "lower learning_rate")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if round(state.epoch) >= self.last:
            control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if _finished(_entries(state.log_history), self.settings, self.last):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if processes.is_first():
            self._seal(state)
        processes.wait()

    def _seal(self, state: Any) -> None:
        sealed = self.folder / f"checkpoint-{state.global_step}"
        seal(sealed, _sealed_as(sealed))
        history = _entries(state.log_history)
        keep = {int(entry["step"]) for entry in [_best(history), *history[-2:]]}
        for step, checkpoint in _checkpoints(self.folder).items():
            if step not in keep:
                _remove(checkpoint)


def _part(collate: Callable[[Sequence[History]], Batch], spare: Sequence[History], windows: Sequence[History]) -> Batch:
    """A part of a batch, and how many targets it has; where it is empty, a window that counts nothing."""
    batch = collate(windows or spare)
    labels = batch.get("labels")
    targets = torch.tensor(len(windows)) if labels is None else (labels > 0).sum()
    return {**batch, TARGETS: targets if windows else torch.tensor(0)}


def _entries(log: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The Trainer's log -> one entry an epoch with epoch, step, loss, and the metric where it was asked for."""
    told: dict[int, dict[str, float]] = {}
    for entry in log:
        epoch = round(entry["epoch"])
        if "loss" in entry:
            told[epoch] = {"epoch": epoch, "step": entry["step"], "loss": entry["loss"]}
        elif f"eval_{METRIC}" in entry:
            told[epoch][METRIC] = entry[f"eval_{METRIC}"]
    return list(told.values())


def _history(checkpoint: Path) -> list[dict[str, float]]:
    return _entries(json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["log_history"])


def _best(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The epoch of the highest metric, the earliest of equal ones; the last one where none was asked for."""
    if METRIC not in history[-1]:
        return history[-1]
    return max(history, key=lambda entry: (entry[METRIC], -entry["epoch"]))


def _finished(history: Sequence[dict[str, float]], settings: TrainingSettings, last: int) -> bool:
    now = history[-1]["epoch"]
    return now >= last or now - _best(history)["epoch"] >= settings.patience


def _newest_checkpoint(folder: Path, report: Reporter) -> Path | None:
    """The newest checkpoint that is whole and whose best checkpoint is whole too."""
    name = processes.from_first(lambda: _newest_name(folder, report))
    return None if name is None else folder / name


def _newest_name(folder: Path, report: Reporter) -> str | None:
    for _, checkpoint in sorted(_checkpoints(folder).items(), reverse=True):
        wrong = damage(checkpoint, _sealed_as(checkpoint))
        if wrong is None:
            best = folder / f"checkpoint-{int(_best(_history(checkpoint))['step'])}"
            if damage(best, _sealed_as(best)) is None:
                return checkpoint.name
            wrong = f"its best checkpoint {best.name} is damaged"
        report.note(f"{checkpoint.name} is passed over: {wrong}")
        _remove(checkpoint)
    return None


def _checkpoints(folder: Path) -> dict[int, Path]:
    """What stands where checkpoints do, by step."""
    named = {path.name.removeprefix("checkpoint-"): path for path in folder.glob("checkpoint-*")}
    return {int(step): path for step, path in named.items() if step.isascii() and step.isdecimal()}


def _sealed_as(checkpoint: Path) -> dict[str, str]:
    """What a checkpoint's manifest says: it is of this training, and of this step."""
    return {"training": checkpoint.parent.name, "checkpoint": checkpoint.name}


def _remove(checkpoint: Path) -> None:
    """Make room where a checkpoint stood; what is no folder was put there by somebody else."""
    if checkpoint.is_dir() and not checkpoint.is_symlink():
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        set_aside(checkpoint)


def _load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    from safetensors.torch import load_file

    adapter = checkpoint / "adapter_model.safetensors"
    if adapter.is_file():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(adapter))
    else:
        state = load_file(checkpoint / "model.safetensors")
        missing, unexpected = model.load_state_dict(state, strict=False)
        tied = [group for group in ties(model.state_dict(keep_vars=True)) if group & state.keys()]
        odd = {name for name in missing if not any(name in group for group in tied)}  # of tied weights one is stored
        if odd or unexpected:
            raise ModelError(f"the checkpoint {checkpoint} does not fit the model: {sorted({*odd, *unexpected})}")
