"""Composition root: the only place that knows which adapter stands behind a contract."""
