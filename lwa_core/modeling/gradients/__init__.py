"""Gradients of the weights, example by example."""
