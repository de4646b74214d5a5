"""Longer runs that kill and stop whatever can be killed and stopped, and count afterwards."""
