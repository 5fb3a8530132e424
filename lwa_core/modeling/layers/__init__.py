"""The layers of a model: found, gated, skipped, really removed."""
