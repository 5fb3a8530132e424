"""Content-addressed, sealed results."""
