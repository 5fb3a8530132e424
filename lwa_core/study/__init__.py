"""Studies: one recipe with many settings and seeds -> one table, and what it shows."""
