"""One file for each kind of stage that every task has; what differs by task is in `lwa_core.pipeline.task`."""
