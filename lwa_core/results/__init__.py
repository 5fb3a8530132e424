"""What a run found out: assembled, read, warned about, put into words."""
