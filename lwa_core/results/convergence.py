"""Whether the training of the full model had come to its end.

What students keep of a model that had not is flattering: healing trains them further. It is warned of before all else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lwa_core.results.figures import metric_name, signed, with_interval
from lwa_core.results.reading import Results
from lwa_core.results.schema import Caution, Training
from lwa_core.results.verdict import Verdict, compared, verdict

CODE = "teacher-not-converged"

FEWEST, MOST = 5, 10
"""Epochs at the end of a training that say whether it still rises: a third of all, within these bounds."""


def convergence_warnings(results: Results) -> Iterator[Caution]:
    """What speaks against the full model having been trained to the end."""
    trained = next((each for each in results.metrics.training if each.name == results.teacher.name), None)
    reason = None if trained is None else unconverged(trained)
    if reason:
        yield Caution(
            CODE,
            f"the teacher has not converged: {reason}; what its students keep, and which layers it needs, may be other "
            "once it has (raise its epochs)",
        )
    for control in results.of_kind("control"):
        ahead = results.ahead(control, results.teacher)
        if verdict(ahead) is Verdict.BETTER:
            yield Caution(
                CODE,
                f"{control.name}, the teacher trained for as long as students were healed, "
                f"{compared(Verdict.BETTER, results.words.rank)} the teacher (advantage "
                f"{with_interval(ahead, signed)}): hold students against it",
            )


def unconverged(trained: Training) -> str | None:
    """Why a training had not come to its end; None where nothing speaks for that."""
    history = trained.history
    if not history:
        return None
    last = int(history[-1]["epoch"])
    if trained.best_epoch >= last:
        return f"its best epoch is the last of {last}" if last > 1 else "it was trained for one epoch"
    metric = validated(history)
    if metric is not None and still_rises([entry[metric] for entry in history]):
        return f"its validation {metric_name(metric)} still rises at the end"
    return None


def validated(history: Sequence[Mapping[str, float]]) -> str | None:
    """The metric that stopped a training, higher is better; None where its history has none."""
    return next((key for key in history[0] if key not in ("epoch", "loss")), None)


def still_rises(values: Sequence[float]) -> bool:
    """Whether the last epochs rise beyond their noise: the 95 % interval of the least-squares slope lies above 0."""
    from scipy.special import stdtrit

    count = min(MOST, max(FEWEST, len(values) // 3))
    if len(values) < count:
        return False
    y = np.asarray(values[-count:], dtype=np.float64)
    x = np.arange(count) - (count - 1) / 2
    slope = float(x @ y / (x @ x))
    noise = y - y.mean() - slope * x
    error = float(np.sqrt(noise @ noise / (count - 2) / (x @ x)))
    return slope > float(stdtrit(count - 2, 0.975)) * error
