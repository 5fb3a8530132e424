"""A model seen by its layers: found, asked about, cut, saved."""
