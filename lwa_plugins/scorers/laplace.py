"""`laplace`: how much of a prediction's uncertainty comes from not knowing a layer's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe
    from lwa_core.modeling import FittedLaplace


@attrs.frozen
class Laplace:
    """J_l(x) Σ_l J_l(x)ᵀ: the layer's part of the epistemic variance of a prediction, Σ_l = (N F̄_l + λI)⁻¹.

    No measure of importance. High means: predictions lean on weights of this layer that N training targets left open.
    A high Fisher means a low posterior variance of the weights, but also that predictions lean on them: along a
    direction of Fisher d the mean for log-probabilities is d / (N d + λ), from d / λ, the order of `fisher`, where the
    prior decides, to 1 / N, the number of weights, where the data do.

    The layers' parts add up to the linearised model's variance, since layers are taken to be independent; embeddings
    and head are held fixed. Diagonal and K-FAC leave correlations between weights out, which tends to overstate the
    variance. The intervals are over the examples, given the posterior.

    With `samples` it also tells the uncertainty of the predictions, total = aleatoric + epistemic, which belongs to no
    layer, and whether the mean prediction is the better one.
    """

    unit: ClassVar[str] = "nats²"
    baseline: ClassVar[bool] = True  # no order of importance: not to be combined, nor asked to agree

    quantity: str = setting(
        "target",
        help="the variance of what: target, the log-probability of the item that followed; drawn, of items drawn from "
        "the model's own prediction; margin, the logit of its first item less that of its second",
        choices=("target", "drawn", "margin"),
    )
    structure: str = setting(
        "kfac",
        help="of each layer's Fisher: kfac, Kronecker factors of each linear map; diagonal, no correlations at all",
        choices=("kfac", "diagonal"),
    )
    labels: str = setting(
        "sampled",
        help="sampled: labels drawn from the model's own predictions, the Fisher; observed: the empirical Fisher",
        choices=("sampled", "observed"),
    )
    draws: int = setting(2, help="labels drawn for each example, for the Fisher and for quantity = drawn", minimum=1)
    prior_precision: float | None = setting(
        None, help="precision of the weights' Gaussian prior; left out: by marginal likelihood", above=0
    )
    samples: int = setting(
        20, help="draws from the posterior for the uncertainty of the predictions; 0: do not estimate it", minimum=0
    )
    predictive: str = setting(
        "linearised",
        help="predictions at such a draw: linearised, of the model linearised at its weights; sampled, of the model "
        "with the drawn weights in it",
        choices=("linearised", "sampled"),
    )

    def __attrs_post_init__(self) -> None:
        if self.samples == 1:
            raise ValueError("samples must be 0 or at least 2: one draw shows no difference between draws")

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        from lwa_core.modeling import fit_laplace, posterior_predictive

        fitted = fit_laplace(
            probe,
            structure=self.structure,
            labels=self.labels,
            draws=self.draws,
            prior_precision=self.prior_precision,
        )
        table = torch.from_numpy(fitted.variances(probe, self.quantity, self.draws))
        probe.tell("laplace", self._facts(fitted, table.sum(dim=1)))
        if self.samples:
            probe.tell("predictive", posterior_predictive(probe, fitted.posterior, self.samples, self.predictive))
        return table

    def _facts(self, fitted: FittedLaplace, whole: torch.Tensor) -> dict[str, Any]:
        posterior = fitted.posterior
        error = float(whole.std() / len(whole) ** 0.5) if len(whole) > 1 else None
        return {
            "quantity": self.quantity,
            "structure": self.structure,
            "labels": self.labels,
            "variance": {"mean": float(whole.mean()), "standard_error": error},
            "training_targets": posterior.targets,
            "parameters": posterior.parameters,
            "effective_parameters": posterior.effective_parameters,
            "prior_precision": posterior.prior_precision,
            "prior_precision_by": "marginal likelihood" if self.prior_precision is None else "setting",
            "log_evidence": posterior.log_evidence,
            "log_likelihood": -posterior.targets * fitted.loss,
            "log_marginal_likelihood": posterior.log_evidence - posterior.targets * fitted.loss,
        }
