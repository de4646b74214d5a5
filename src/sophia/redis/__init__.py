"""Redis plumbing that the queue and the event log share."""
