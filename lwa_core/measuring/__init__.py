"""Time, memory and costs, measured."""
