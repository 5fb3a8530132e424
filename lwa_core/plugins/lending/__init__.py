"""What a plugin is lent, and that it gives it back as it was."""
