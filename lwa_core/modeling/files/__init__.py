"""Models on disk and in memory: saved, loaded, adapted, quantised, counted."""
