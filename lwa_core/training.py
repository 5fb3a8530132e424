"""One training loop for fitting, distilling and healing, on transformers.Trainer."""
from __future__ import annotations
