"""Ways to read interactions, or to make them."""
