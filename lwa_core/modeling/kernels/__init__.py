"""Products and losses that are faster, or smaller, than torch's own."""
