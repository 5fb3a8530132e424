"""Intervals, agreement, stability, semivalues, regret: numpy and scipy only."""
