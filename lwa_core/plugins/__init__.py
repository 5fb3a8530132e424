"""Hooks, registry, protocols, and what a plugin is lent."""
