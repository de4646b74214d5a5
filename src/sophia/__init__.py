"""Sophia: a hybrid-cloud AI task platform."""

__version__ = "0.1.0"
