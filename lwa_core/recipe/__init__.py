"""TOML -> a recipe, or all that is wrong with it."""
