"""What scorers must give, by nothing of lwa: own hooks, one example at a time, unpadded."""

import inspect
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

MASK = 4


@contextmanager
def left_out(blocks, which):
    """Some blocks give out what came in."""

    def passed(_, args, kwargs, output):
        state = args[0] if args else kwargs["hidden_states"]
        return (state, *output[1:]) if isinstance(output, tuple) else state

    hooks = [blocks[number].register_forward_hook(passed, with_kwargs=True) for number in which]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def loss_of(model, task, ids, target):
    tokens = torch.tensor(ids[None].astype("int64"))
    plain = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **plain).logits
    if task != "classify":
        logits = logits[:, -1 if task == "causal" else int((tokens[0] == MASK).nonzero()[0])]
    return F.cross_entropy(logits.float(), torch.tensor([int(target)]))


def scores(model, blocks, task, examples):
    """Mean leave-one-out loss, trace of the empirical Fisher and block influence of each layer (layers,)."""
    found = {name: np.zeros((len(examples), len(blocks))) for name in ("leave-one-out", "fisher", "block-influence")}
    for row, (ids, target) in enumerate(examples):
        states = []

        def seen(_, args, kwargs, output, states=states):
            before = args[0] if args else kwargs["hidden_states"]
            states.append((before, output[0] if isinstance(output, tuple) else output))

        hooks = [block.register_forward_hook(seen, with_kwargs=True) for block in blocks]
        model.zero_grad()
        loss = loss_of(model, task, ids, target)
        for hook in hooks:
            hook.remove()
        loss.backward()
        for layer, block in enumerate(blocks):
            own = {id(parameter): parameter.grad for parameter in block.parameters() if parameter.grad is not None}
            found["fisher"][row, layer] = sum(float(gradient.double().square().sum()) for gradient in own.values())
            if len(states) == len(blocks):
                before, after = (state.detach().double() for state in states[layer])
                angle = torch.cosine_similarity(before, after, dim=-1)
                found["block-influence"][row, layer] = float((1 - angle).mean())
            with torch.no_grad(), left_out(blocks, [layer]):
                found["leave-one-out"][row, layer] = float(loss_of(model, task, ids, target)) - float(loss)
    model.zero_grad()
    return {name: table.mean(axis=0) for name, table in found.items()}
