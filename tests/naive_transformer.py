"""The blocks of `sequential` on one unpadded sequence, by their definition, in float64 numpy."""

import numpy as np
import torch


def numbers(tensor):
    return tensor.detach().double().numpy()


def norm(layer, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return x * numbers(layer.weight) + numbers(layer.bias)


def linear(layer, x):
    return x @ numbers(layer.weight).T + numbers(layer.bias)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def naive_block(block, x, added):
    """States (time, width) after a block; `added(head, query, key)` is added to a logit, −inf hides the key."""
    return naive_feed_forward(block, naive_attention(block, x, added))


def naive_attention(block, x, added):
    """States (time, width) after the attention of a block."""
    normed, attention = norm(block.attention_norm, x), block.attention
    q, k, v = (linear(each, normed) for each in (attention.q_proj, attention.k_proj, attention.v_proj))
    size = q.shape[1] // attention.heads
    mixed = np.zeros_like(q)
    for head in range(attention.heads):
        own = slice(head * size, (head + 1) * size)
        for t in range(len(x)):
            weights = [np.exp(q[t, own] @ k[s, own] / np.sqrt(size) + added(head, t, s)) for s in range(len(x))]
            mixed[t, own] = np.array(weights) / sum(weights) @ v[:, own]
    mixed, gated = linear(attention.o_proj, mixed), hasattr(block, "attention_gate")
    return x + (sigmoid(linear(block.attention_gate, x)) if gated else 1) * mixed


def naive_feed_forward(block, x):
    """States (time, width) after the feed-forward of a block."""
    gated = hasattr(block, "feed_forward_gate")
    normed = norm(block.feed_forward_norm, x)
    up = linear(block.up_proj, normed)
    if gated:
        gate = linear(block.gate_proj, normed)
        return x + sigmoid(linear(block.feed_forward_gate, x)) * linear(block.down_proj, gate * sigmoid(gate) * up)
    return x + linear(block.down_proj, torch.nn.functional.gelu(torch.from_numpy(up)).numpy())


def naive_logits(model, ids, items, added=lambda layer, head, query, key: 0.0):
    """Logits of the last `items` ids at every position of one sequence of a model's ids (time, items)."""
    x = numbers(model.item_embedding.weight)[list(ids)] + numbers(model.position_embedding.weight)[: len(ids)]
    for index, block in enumerate(model.blocks):
        x = naive_block(block, x, lambda head, query, key, index=index: added(index, head, query, key))
    return norm(model.norm, x) @ numbers(model.item_embedding.weight)[-items:].T


def cross_entropy(logits, target):
    return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target]
