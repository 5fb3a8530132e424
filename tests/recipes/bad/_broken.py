"""Fails when loaded."""

raise RuntimeError("not today")
