"""Servers that `sophia up` and the tests start as child processes."""
