"""`hutchinson`: the trace of the Hessian of the loss with respect to each layer's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class Hutchinson:
    """tr ∂²ℓ/∂θ_l² of the mean loss ℓ, from z_lᵀ (H z)_l for random signs z (Hutchinson 1990).

    One z is drawn over the weights of all layers at once: E z_k z_lᵀ = 0 for two layers, so that one product with the
    whole Hessian H serves them all. A row is one z; the standard error is that of the drawings, and all rows are of the
    same examples.

    To second order, noise of variance σ² on every weight raises the loss by ½ σ² tr H (Dong et al. 2020, HAWQ-V2, sets
    bit widths by it). That is not what removing a layer does; bigger layers have bigger traces; and away from a minimum
    a trace can be negative.
    """

    unit: ClassVar[str] = "nats"

    draws: int = setting(20, help="vectors z of random signs", minimum=2)

    def score(self, probe: Probe) -> torch.Tensor:
        import torch
        import torch.nn.functional as F
        from torch.nn.attention import SDPBackend, sdpa_kernel

        from lwa_core.modeling import assert_plain_weights

        assert_plain_weights(probe.model, "second derivatives")
        weights = list(
            {id(w): w for layer in probe.model.layers for w in layer.parameters() if w.requires_grad}.values()
        )
        place = {id(weight): number for number, weight in enumerate(weights)}
        seeds = probe.generator.integers(0, 2**62, size=self.draws)
        products = torch.zeros(self.draws, len(weights), dtype=torch.double)  # zᵀ(Hz) of each weight
        for batch in probe.batches():
            # Fused attention has no second derivative.
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                loss = F.cross_entropy(probe.logits(batch), batch["targets"], reduction="sum") / probe.examples
                gradients = torch.autograd.grad(
                    loss, weights, create_graph=True, allow_unused=True, materialize_grads=True
                )
                for draw, seed in enumerate(seeds):
                    # Drawn again for every micro-batch, on the CPU: kept, they would be `draws` models in memory.
                    generator = torch.Generator().manual_seed(int(seed))
                    signs = [_signs(weight, generator) for weight in weights]
                    total = torch.stack([(g * z).sum() for g, z in zip(gradients, signs, strict=True)]).sum()
                    turned = torch.autograd.grad(
                        total, weights, retain_graph=True, allow_unused=True, materialize_grads=True
                    )
                    products[draw] += torch.stack(
                        [(z * hz).sum(dtype=torch.double).cpu() for z, hz in zip(signs, turned, strict=True)]
                    )
        probe.count_passes(2 + 4 * self.draws)
        held = [[place[id(w)] for w in layer.parameters() if w.requires_grad] for layer in probe.model.layers]
        return torch.stack([products[:, numbers].sum(dim=1) for numbers in held], dim=1)


def _signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """+1 and −1, each with probability ½, in the shape of `like`."""
    import torch

    drawn = torch.randint(0, 2, like.shape, generator=generator)
    return (2 * drawn - 1).to(like.device, like.dtype)
