"""The ledger's schema as an ordered list of steps, and how a database is brought to its end.

A list in the package, not Alembic: the lock against concurrent starters and the check for a newer schema would be
ours with either, and a step here is plain SQL that both databases take.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sophia.nouns.errors import ConfigError
from sophia.store.engine import Database
from sophia.store.tables import schema

# Ids sort by code point in both databases, whatever locale a Postgres database was made with: pages are cut by id.
_KEY_TYPE = {"sqlite": "TEXT", "postgresql": 'TEXT COLLATE "C"'}

_LOCK = 0x50F1A_1ED6E2
"""Any constant that nobody else uses as an advisory lock in the same database."""

# A step that was released is never edited: append another.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE ledger_tasks (
            id {key} NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, type TEXT NOT NULL, stream TEXT NOT NULL,
            priority INTEGER NOT NULL, state TEXT NOT NULL, submitted_at_ms BIGINT NOT NULL,
            updated_at_ms BIGINT NOT NULL, due_at_ms BIGINT, finished_at_ms BIGINT, cancel_requested BOOLEAN NOT NULL,
            progress INTEGER NOT NULL, error TEXT)""",
        "CREATE INDEX ledger_tasks_newest ON ledger_tasks (submitted_at_ms, id)",
        "CREATE INDEX ledger_tasks_tenant_newest ON ledger_tasks (tenant, submitted_at_ms, id)",
        "CREATE INDEX ledger_tasks_state_newest ON ledger_tasks (state, submitted_at_ms, id)",
        "CREATE INDEX ledger_tasks_finished ON ledger_tasks (finished_at_ms) WHERE finished_at_ms IS NOT NULL",
        """CREATE TABLE ledger_bodies (
            task_id {key} NOT NULL PRIMARY KEY REFERENCES ledger_tasks (id) ON DELETE CASCADE, task TEXT NOT NULL)""",
        """CREATE TABLE ledger_results (
            task_id {key} NOT NULL PRIMARY KEY REFERENCES ledger_tasks (id) ON DELETE CASCADE, result TEXT NOT NULL)""",
        """CREATE TABLE ledger_attempts (
            task_id {key} NOT NULL REFERENCES ledger_tasks (id) ON DELETE CASCADE, number INTEGER NOT NULL,
            worker TEXT NOT NULL, pool TEXT NOT NULL, started_at_ms BIGINT NOT NULL, ended_at_ms BIGINT, outcome TEXT NOT NULL, error TEXT,
            input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, embedding_tokens BIGINT NOT NULL,
            model_calls BIGINT NOT NULL, run_s DOUBLE PRECISION NOT NULL, cost_nano_usd BIGINT NOT NULL,
            PRIMARY KEY (task_id, number))""",
        """CREATE TABLE ledger_usage_days (
            day BIGINT NOT NULL, tenant TEXT NOT NULL, type TEXT NOT NULL, tasks BIGINT NOT NULL,
            input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, embedding_tokens BIGINT NOT NULL,
            model_calls BIGINT NOT NULL, run_s DOUBLE PRECISION NOT NULL, cost_nano_usd BIGINT NOT NULL,
            PRIMARY KEY (day, tenant, type))""",
        "CREATE TABLE ledger_marks (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
        """CREATE TABLE ledger_instances (
            id {key} NOT NULL PRIMARY KEY, pool TEXT NOT NULL, state TEXT NOT NULL, requested_at_ms BIGINT NOT NULL,
            recorded_at_ms BIGINT NOT NULL, instance TEXT NOT NULL)""",
        "CREATE INDEX ledger_instances_state ON ledger_instances (state, recorded_at_ms)",
    ),
    (
        "ALTER TABLE ledger_tasks ADD COLUMN durability TEXT NOT NULL DEFAULT 'queue'",
        "CREATE INDEX ledger_tasks_durable ON ledger_tasks (state, submitted_at_ms, id) WHERE durability = 'ledger'",
        """CREATE TABLE ledger_objects (
            task_id {key} NOT NULL REFERENCES ledger_tasks (id) ON DELETE CASCADE, object TEXT NOT NULL,
            PRIMARY KEY (task_id, object))""",
        "CREATE INDEX ledger_objects_object ON ledger_objects (object)",
        """CREATE TABLE ledger_claims (
            tenant TEXT NOT NULL, key TEXT NOT NULL, task_id TEXT NOT NULL, request_hash TEXT NOT NULL,
            expires_at_ms BIGINT NOT NULL, PRIMARY KEY (tenant, key))""",
        "CREATE INDEX ledger_claims_expiry ON ledger_claims (expires_at_ms)",
    ),
    (
        """CREATE TABLE ledger_api_keys (
            id {key} NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, prefix TEXT NOT NULL,
            digest TEXT NOT NULL, scopes TEXT NOT NULL, limits TEXT NOT NULL, created_at_ms BIGINT NOT NULL,
            created_by TEXT NOT NULL, expires_at_ms BIGINT, revoked_at_ms BIGINT)""",
        """CREATE TABLE ledger_call_days (
            day BIGINT NOT NULL, tenant TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
            requests BIGINT NOT NULL, cached BIGINT NOT NULL, input_tokens BIGINT NOT NULL,
            output_tokens BIGINT NOT NULL, embedding_tokens BIGINT NOT NULL, cost_nano_usd BIGINT NOT NULL,
            saved_nano_usd BIGINT NOT NULL, PRIMARY KEY (day, tenant, key, model, provider))""",
        "CREATE TABLE ledger_call_batches (id TEXT NOT NULL PRIMARY KEY, at_ms BIGINT NOT NULL)",
    ),
    (
        """CREATE TABLE ledger_files (
            id {key} NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, purpose TEXT NOT NULL, filename TEXT NOT NULL,
            bytes BIGINT NOT NULL, created_at_ms BIGINT NOT NULL, expires_at_ms BIGINT, deleted BOOLEAN NOT NULL)""",
        "CREATE INDEX ledger_files_tenant ON ledger_files (tenant, id)",
        "CREATE INDEX ledger_files_expiry ON ledger_files (expires_at_ms)",
        """CREATE TABLE ledger_file_parts (
            file_id {key} NOT NULL REFERENCES ledger_files (id) ON DELETE CASCADE, number INTEGER NOT NULL,
            object TEXT NOT NULL, part TEXT NOT NULL, PRIMARY KEY (file_id, number))""",
        "CREATE INDEX ledger_file_parts_object ON ledger_file_parts (object)",
        """CREATE TABLE ledger_batches (
            id {key} NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, input_file_id TEXT NOT NULL,
            created_at_ms BIGINT NOT NULL, ended_at_ms BIGINT, version INTEGER NOT NULL, batch TEXT NOT NULL)""",
        "CREATE INDEX ledger_batches_tenant ON ledger_batches (tenant, id)",
        "CREATE INDEX ledger_batches_open ON ledger_batches (id) WHERE ended_at_ms IS NULL",
        """CREATE TABLE ledger_batch_chunks (
            batch_id {key} NOT NULL REFERENCES ledger_batches (id) ON DELETE CASCADE, number INTEGER NOT NULL,
            task_id TEXT NOT NULL, result TEXT, PRIMARY KEY (batch_id, number))""",
        """CREATE TABLE ledger_chunk_objects (
            batch_id {key} NOT NULL REFERENCES ledger_batches (id) ON DELETE CASCADE, object TEXT NOT NULL,
            PRIMARY KEY (batch_id, object))""",
        "CREATE INDEX ledger_chunk_objects_object ON ledger_chunk_objects (object)",
    ),
)


async def migrate(database: Database) -> None:
    """Apply the steps that are missing, all in one transaction; those who come at the same time wait for it.

    Raises ``ConfigError`` when the database has steps that this version does not know.
    """
    await database.prepare()
    async with database.reading() as connection:
        if await _version(connection) == len(MIGRATIONS):
            # Without taking the lock, so that a role that may not create tables can start.
            return
    async with database.writing() as connection:
        if database.dialect == "postgresql":
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        version = await _version(connection)
        if version == 0:
            await connection.execute(
                sa.text("CREATE TABLE IF NOT EXISTS ledger_schema (version INTEGER NOT NULL PRIMARY KEY)")
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                await connection.execute(sa.text(statement.format(key=_KEY_TYPE[database.dialect])))
            await connection.execute(schema.insert().values(version=number))


async def _version(connection: AsyncConnection) -> int:
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table(schema.name)):
        return 0
    version = (await connection.execute(sa.select(sa.func.max(schema.c.version)))).scalar() or 0
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"the ledger's schema has version {version}, this Sophia knows {len(MIGRATIONS)}",
            field="ledger",
            mend="run the newer Sophia that wrote it, or use another ledger",
        )
    return int(version)
