"""The posterior of the weights, and what follows from it."""
