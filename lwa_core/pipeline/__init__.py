"""The stages of a run, their keys, and the run itself."""
