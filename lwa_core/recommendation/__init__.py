"""Ranking a catalogue: metrics, baselines, the ranker."""
