"""Emulated clouds: real HTTP servers that keep to the published contracts, for tests and for `sophia up --cloud emulated`."""
