"""Where models run."""

from __future__ import annotations

import torch


def device() -> torch.device:
    """Where models run: the first CUDA device if there is one."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
