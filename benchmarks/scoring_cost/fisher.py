"""The trace of the empirical Fisher in the two ways that need no hooks, for comparison with the scorer `fisher`.

Each gives ‖∇_θl ℓ_n‖² (examples, layers), double.
"""

import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel


def one_example_at_a_time(probe):
    """The definition: a forward and a backward pass for each example alone."""
    parameters = [list(layer.parameters()) for layer in probe.model.layers]
    flat = [parameter for layer in parameters for parameter in layer]
    rows = []
    for batch in probe.batches(size=1):
        loss = F.cross_entropy(probe.logits(batch), batch["targets"])
        found = iter(torch.autograd.grad(loss, flat))
        rows.append(torch.stack([sum(next(found).square().sum().double() for _ in layer) for layer in parameters]))
    return torch.stack(rows)


def by_vmap(probe):
    """Per-example gradients of the layers' weights, all formed at once: vmap has no rule for fused attention on a CPU,
    so attention is made of plain operations here.
    """
    model, path = probe.model.model, probe.model.path
    names = [name for name, _ in model.named_parameters() if name.startswith(f"{path}.")]
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    layers = {name: weights.pop(name) for name in names}
    table = model.get_input_embeddings().weight[1:].detach()

    def loss(layers, ids, last, target):
        states = functional_call(model, {**weights, **layers}, (ids[None],)).last_hidden_state[0]
        return F.cross_entropy(states.index_select(0, last[None]) @ table.T, target[None])

    rows = []
    with sdpa_kernel(SDPBackend.MATH):
        for batch in probe.batches():
            found = vmap(grad(loss), in_dims=(None, 0, 0, 0))(
                layers, batch["input_ids"], batch["last"], batch["targets"]
            )
            rows.append(
                torch.stack(
                    [
                        sum(found[name].flatten(1).square().sum(dim=1) for name in names if owner(path, name) == layer)
                        for layer in range(probe.depth)
                    ],
                    dim=1,
                ).double()
            )
    return torch.cat(rows)


def owner(path, name):
    """The layer that a parameter belongs to."""
    return int(name.removeprefix(f"{path}.").split(".")[0])
