"""The router's side of the queue on Redis."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from sophia.nouns.task import TaskRecord
from sophia.queue.base import Change, Spent, UpkeepReport
from sophia.queue.budgets import admitted_at_ms, closed, rest_of
from sophia.queue.history import past_of
from sophia.queue.redis.producer import submission_args
from sophia.queue.redis.shared import QueueOptions, Scripts
from sophia.redis.base import Redis
from sophia.redis.connection import persistently, translated
from sophia.redis.waits import Waits

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder()
ORPHAN_SCAN_EVERY_S = 3.0
"""For deliveries that were never begun, in the streams in which tasks wait ..."""
FULL_SCAN_EVERY_S = 60.0
"""... and in all of them: what is no task of ours is counted nowhere, and can have been delivered all the same."""
STOP_REQUEST_TTL_S = 3_600


class RedisUpkeep:
    """Implements ``QueueUpkeep``. ``blocking`` is a second client for reads that wait."""

    def __init__(self, client: Redis, blocking: Redis, options: QueueOptions) -> None:
        self._scripts = Scripts(client, options)
        self._client = client
        self._waits = Waits(blocking)
        self._options = options
        self._scanned_at_s = self._scanned_all_at_s = float("-inf")

    async def upkeep(self, limit: int) -> UpkeepReport:
        promoted = reclaimed = expired = dead = 0
        next_ms: int | None = None
        accounts_open = True
        lease_ms = round(self._options.lease_s * 1000)
        words = (limit, self._scan(), lease_ms, *self._options.streams)
        answers, failure = await self._scripts.everywhere(
            lambda prefix: persistently(lambda: self._scripts.call("upkeep", prefix, *words))
        )
        if failure is not None:
            log.warning("a partition has no upkeep at the moment: %s", failure)
        for answer in answers:
            promoted += answer[0]
            reclaimed += answer[1]
            expired += answer[2]
            dead += answer[3]
            accounts_open = accounts_open and answer[5] == 1
            if answer[4] >= 0:
                next_ms = answer[4] if next_ms is None else min(next_ms, answer[4])
        return UpkeepReport(
            promoted=promoted,
            reclaimed=reclaimed,
            expired=expired,
            dead=dead,
            next_due_in_s=None if next_ms is None else next_ms / 1000,
            accounts_open=accounts_open,
        )

    def _scan(self) -> int:
        """Whether this pass looks for lost deliveries (1), also in streams in which no task waits (2)."""
        now_s = time.monotonic()
        if now_s - self._scanned_at_s < ORPHAN_SCAN_EVERY_S:
            return 0
        self._scanned_at_s = now_s
        if now_s - self._scanned_all_at_s < FULL_SCAN_EVERY_S:
            return 1
        self._scanned_all_at_s = now_s
        return 2

    async def changes(self, limit: int, wait_s: float) -> list[Change]:
        keys = [f"{prefix}:changes" for prefix in self._scripts.prefixes]
        reads = []
        for group in self._client.together(keys):
            named = [keys[place] for place in group]
            block_ms = max(1, round(wait_s * 1000))
            words = ("XREAD", "COUNT", limit, "BLOCK", block_ms, "STREAMS", *named, *("0" for _ in named))
            reads.append((named[0], words))
        async with translated():
            answers = await self._waits.first(reads)
        changes: list[Change] = []
        for key, entries in (item for answer in answers for item in answer or ()):
            for entry, fields in entries:
                # An entry names all tasks that one call of a script has changed; it goes as a whole.
                if len(changes) < limit:
                    task_ids = fields[::2]
                    token = f"{key.decode()} {entry.decode()} {len(task_ids)}"
                    changes += [Change(token=token, task_id=task_id.decode()) for task_id in task_ids]
        return changes

    async def acknowledge(self, changes: Sequence[Change]) -> None:
        by_key: dict[str, list[str]] = {}
        for token, count in Counter(change.token for change in set(changes)).items():
            key, entry, size = token.split(" ")
            if count == int(size):
                by_key.setdefault(key, []).append(entry)
        for key, entries in by_key.items():
            await persistently(lambda k=key, e=entries: self._client.call(k, "XDEL", k, *e))  # type: ignore[misc]

    async def restore(self, records: Sequence[TaskRecord]) -> list[str]:
        went: list[str] = []
        by_prefix: dict[str, list[TaskRecord]] = {}
        for record in records:
            by_prefix.setdefault(self._scripts.prefix_of(record.task.tenant), []).append(record)
        for prefix, group in by_prefix.items():
            args: list[str | bytes | int] = [len(group)]
            for record in group:
                past = past_of(record)
                history = _encode.encode(past.attempts)[1:-1]
                args += (record.task.id, past.number, past.counted, history)
            for record in group:
                # Without its idempotency key, which a newer request may hold by now: the ledger remembers it.
                task, run_at_ms = record.task, record.due_at_ms or record.task.run_at_ms
                reserve = rest_of(task.reserved, record.usage)
                args += submission_args(task, self._options, run_at_ms, None, reserve, admitted_at_ms(record))
            answers = await persistently(lambda p=prefix, a=args: self._scripts.call("restore", p, *a))  # type: ignore[misc]
            for record, (_, _, verdict, *_) in zip(group, answers, strict=True):
                if verdict == b"closed":
                    raise closed(record.task.tenant)
            went += [task_id.decode() for task_id, _, verdict, *_ in answers if verdict == b"new"]
        return went

    async def begin_accounts(self, token: str) -> bool:
        answers = await self._scripts.all_of(
            lambda prefix: persistently(lambda: self._scripts.call("accounts", prefix, "begin", token))
        )
        return all(answers)

    async def open_accounts(self, token: str) -> bool:
        answers = await self._scripts.all_of(
            lambda prefix: persistently(lambda: self._scripts.call("accounts", prefix, "open", token))
        )
        return all(answers)

    async def fill_accounts(self, token: str, spent: Sequence[Spent]) -> bool:
        args: dict[str, list[str | int]] = {prefix: [] for prefix in self._scripts.prefixes}
        for row in spent:
            args[self._scripts.prefix_of(row.tenant)] += (row.tenant, row.period, row.nano_usd, row.tokens)
        answers = await self._scripts.all_of(
            lambda prefix: persistently(lambda: self._scripts.call("accounts", prefix, "fill", token, *args[prefix]))
        )
        return all(answers)

    async def request_stop(self, worker: str) -> None:
        key = f"{self._scripts.prefixes[0]}:stop:{worker}"
        await persistently(lambda: self._client.call(key, "SET", key, "1", "EX", STOP_REQUEST_TTL_S))

    async def lead(self, name: str, holder: str, ttl_s: float) -> bool:
        # Not repeated on trouble: a leader that cannot reach Redis must not believe it leads.
        async with translated():
            answer = await self._scripts.call(
                "lead", self._scripts.prefixes[0], name, holder, max(1, round(ttl_s * 1000))
            )
        return bool(answer)

    async def resign(self, name: str, holder: str) -> None:
        async with translated():
            await self._scripts.call("lead", self._scripts.prefixes[0], name, holder, 0)
