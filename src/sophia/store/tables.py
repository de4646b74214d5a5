"""The ledger's tables as queries see them. ``migrations`` creates them; a test holds the two to each other.

What changes with every state (``tasks``) is kept apart from what is large: the immutable request (``bodies``) is
written once and the result (``results``) once, so a state change rewrites a narrow row, and lists never touch results.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sophia.nouns.errors import InvalidInput


class Word(sa.TypeDecorator[str]):
    """Text that is compared and sorted. Postgres has no NUL character in text and SQLite has; here neither takes it.
    Columns of JSON are plain ``Text``: JSON escapes it."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is not None and "\x00" in value:
            raise InvalidInput(f"{value[:80]!r} has a NUL character")
        return value


metadata = sa.MetaData()

tasks = sa.Table(
    "ledger_tasks",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("type", Word, nullable=False),
    sa.Column("stream", Word, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("state", Word, nullable=False),
    sa.Column("submitted_at_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    sa.Column("due_at_ms", sa.BigInteger),
    sa.Column("finished_at_ms", sa.BigInteger),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("progress", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("durability", Word, nullable=False),
)

bodies = sa.Table(
    "ledger_bodies",
    metadata,
    sa.Column("task_id", Word, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
)

results = sa.Table(
    "ledger_results",
    metadata,
    sa.Column("task_id", Word, primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
)

attempts = sa.Table(
    "ledger_attempts",
    metadata,
    sa.Column("task_id", Word, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("worker", Word, nullable=False),
    sa.Column("pool", Word, nullable=False),
    sa.Column("started_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger),
    sa.Column("outcome", Word, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("embedding_tokens", sa.BigInteger, nullable=False),
    sa.Column("model_calls", sa.BigInteger, nullable=False),
    sa.Column("run_s", sa.Double, nullable=False),
    sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
)

objects = sa.Table(
    "ledger_objects",
    metadata,
    sa.Column("task_id", Word, primary_key=True),
    sa.Column("object", Word, primary_key=True),
)

claims = sa.Table(
    "ledger_claims",
    metadata,
    sa.Column("tenant", Word, primary_key=True),
    sa.Column("key", Word, primary_key=True),
    sa.Column("task_id", Word, nullable=False),
    sa.Column("request_hash", Word, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
)

usage_days = sa.Table(
    "ledger_usage_days",
    metadata,
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("tenant", Word, primary_key=True),
    sa.Column("type", Word, primary_key=True),
    sa.Column("tasks", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("embedding_tokens", sa.BigInteger, nullable=False),
    sa.Column("model_calls", sa.BigInteger, nullable=False),
    sa.Column("run_s", sa.Double, nullable=False),
    sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
)

marks = sa.Table(
    "ledger_marks",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

files = sa.Table(
    "ledger_files",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("purpose", Word, nullable=False),
    sa.Column("filename", Word, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger),
    sa.Column("deleted", sa.Boolean, nullable=False),
)

file_parts = sa.Table(
    "ledger_file_parts",
    metadata,
    sa.Column("file_id", Word, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("object", Word, nullable=False),
    sa.Column("part", sa.Text, nullable=False),
)

batches = sa.Table(
    "ledger_batches",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("input_file_id", Word, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("batch", sa.Text, nullable=False),
)

batch_chunks = sa.Table(
    "ledger_batch_chunks",
    metadata,
    sa.Column("batch_id", Word, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("task_id", Word, nullable=False),
    sa.Column("result", sa.Text),
)

chunk_objects = sa.Table(
    "ledger_chunk_objects",
    metadata,
    sa.Column("batch_id", Word, primary_key=True),
    sa.Column("object", Word, primary_key=True),
)

instances = sa.Table(
    "ledger_instances",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("pool", Word, nullable=False),
    sa.Column("state", Word, nullable=False),
    sa.Column("requested_at_ms", sa.BigInteger, nullable=False),
    sa.Column("recorded_at_ms", sa.BigInteger, nullable=False),
    sa.Column("instance", sa.Text, nullable=False),
)

api_keys = sa.Table(
    "ledger_api_keys",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("name", Word, nullable=False),
    sa.Column("prefix", Word, nullable=False),
    sa.Column("digest", Word, nullable=False),
    sa.Column("scopes", Word, nullable=False),
    sa.Column("limits", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", Word, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger),
    sa.Column("revoked_at_ms", sa.BigInteger),
)

call_days = sa.Table(
    "ledger_call_days",
    metadata,
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("tenant", Word, primary_key=True),
    sa.Column("key", Word, primary_key=True),
    sa.Column("model", Word, primary_key=True),
    sa.Column("provider", Word, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("cached", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("embedding_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
    sa.Column("saved_nano_usd", sa.BigInteger, nullable=False),
)

call_batches = sa.Table(
    "ledger_call_batches",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

schema = sa.Table(
    "ledger_schema",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

USAGE_COLUMNS = ("input_tokens", "output_tokens", "embedding_tokens", "model_calls", "run_s", "cost_nano_usd")

COUNTED_THROUGH = "counted_through_ms"
"""The mark of the last pruned task's end: an attempt that ended by then and is not here was counted and pruned."""
