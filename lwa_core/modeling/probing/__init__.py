"""Questions to a model about its layers."""
