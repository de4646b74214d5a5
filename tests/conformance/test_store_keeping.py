"""What the ledger keeps for others: idempotency keys, references to objects, and tasks that must outlive the queue."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import sqlalchemy as sa

from sophia.nouns.errors import Conflict
from sophia.nouns.objects import ObjectRef, as_value
from sophia.nouns.task import FINAL_STATES, Durability, TaskState
from sophia.store.base import Claim, TaskFilter
from sophia.store.sql import SqlLedger
from tests.support.records import START_MS, finished, queued
from tests.support.tasks import make_task

OPEN = tuple(state for state in TaskState if state not in FINAL_STATES)


def claim(task_id: str, key: str = "k", tenant: str = "acme", request: str = "r", expires_at_ms: int = 1_000) -> Claim:
    return Claim(tenant=tenant, key=key, task_id=task_id, request_hash=request, expires_at_ms=expires_at_ms)


def ref(digit: str) -> ObjectRef:
    return ObjectRef(sha256=digit * 64, bytes=9, day="20260101")


class TestClaims:
    async def test_the_first_holds_the_key_until_it_expires(self, ledger: SqlLedger) -> None:
        assert await ledger.claim([claim("t1")], 0) == ["t1"]
        assert await ledger.claim([claim("t2")], 999) == ["t1"]
        assert await ledger.claim([claim("t3", request="other", expires_at_ms=2_000)], 1_000) == ["t3"]
        assert await ledger.claim([claim("t4", request="other")], 1_001) == ["t3"]

    async def test_keys_are_a_tenants_own(self, ledger: SqlLedger) -> None:
        assert await ledger.claim([claim("t1"), claim("t2", tenant="globex"), claim("t3", key="l")], 0) == [
            "t1",
            "t2",
            "t3",
        ]

    async def test_another_request_is_refused_and_takes_nothing(self, ledger: SqlLedger) -> None:
        await ledger.claim([claim("t1")], 0)
        with pytest.raises(Conflict, match="made task t1") as raised:
            await ledger.claim([claim("t2", key="free"), claim("t3", request="other")], 0)
        assert raised.value.field == "Idempotency-Key"
        assert await ledger.claim([claim("t4", key="free", request="other")], 0) == ["t4"]

    async def test_what_is_released_is_free_and_others_keys_stay(self, ledger: SqlLedger) -> None:
        await ledger.claim([claim("t1"), claim("t2", key="l")], 0)
        await ledger.release([claim("t1"), claim("t9", key="l")])
        await ledger.release([])
        assert await ledger.claim([claim("t3", request="other"), claim("t4", key="l")], 0) == ["t3", "t2"]
        assert await ledger.claim([], 0) == []

    async def test_of_many_at_once_one_holds_each_key(self, ledger: SqlLedger, second_ledger: SqlLedger) -> None:
        async def try_all(number: int) -> list[str]:
            engine = ledger if number % 2 else second_ledger
            wanted = [claim(f"t{number}", key=f"k{key}") for key in range(20)]
            held = await engine.claim(wanted if number % 3 else wanted[::-1], 0)
            return held if number % 3 else held[::-1]

        answers = await asyncio.gather(*(try_all(number) for number in range(8)))
        assert all(answer == answers[0] for answer in answers)

    async def test_pruning_forgets_keys_that_expired(self, ledger: SqlLedger) -> None:
        await ledger.claim([claim("t1", expires_at_ms=500), claim("t2", key="l", expires_at_ms=5_000)], 0)
        await ledger.prune(1_000, 10)
        assert await ledger.claim([claim("t3", request="other"), claim("t4", key="l")], 0) == ["t3", "t2"]


class TestReferences:
    async def test_payloads_and_results_refer_until_their_task_is_pruned(self, ledger: SqlLedger) -> None:
        waiting = queued(make_task(payload=as_value(ref("a"))))
        done = msgspec.structs.replace(finished(make_task(payload=as_value(ref("b")))), result=as_value(ref("c")))
        await ledger.record([waiting, done, finished()])
        await ledger.record([done])
        keys = [ref(digit).key for digit in "abcd"]
        assert await ledger.referenced(keys) == {ref("a").key, ref("b").key, ref("c").key}
        assert await ledger.referenced([]) == frozenset()
        assert await ledger.prune(START_MS + 1, 10) == 2
        assert await ledger.referenced(keys) == {ref("a").key}

    async def test_an_object_that_two_tasks_need_stays_for_the_second(self, ledger: SqlLedger) -> None:
        shared = as_value(ref("a"))
        await ledger.record([finished(make_task(payload=shared)), queued(make_task(payload=shared))])
        await ledger.prune(START_MS + 1, 10)
        assert await ledger.referenced([ref("a").key]) == {ref("a").key}

    async def test_more_keys_than_one_statement_takes(self, ledger: SqlLedger) -> None:
        await ledger.record([queued(make_task(payload=as_value(ref("a"))))])
        keys = [f"20260101/{number:064x}" for number in range(2_500)]
        assert await ledger.referenced([*keys, ref("a").key]) == {ref("a").key}


class TestDurable:
    async def test_only_those_asked_for_are_listed(self, ledger: SqlLedger) -> None:
        durable = [queued(make_task(durability=Durability.LEDGER)) for _ in range(3)]
        done = finished(make_task(durability=Durability.LEDGER))
        await ledger.record([*durable, done, queued(), finished()])
        page = await ledger.tasks(TaskFilter(durability=Durability.LEDGER, states=OPEN), None, 10)
        assert {record.task.id for record in page.tasks} == {record.task.id for record in durable}
        assert all(record.task.durability is Durability.LEDGER for record in page.tasks)
        everything = await ledger.tasks(TaskFilter(durability=Durability.QUEUE), None, 10)
        assert len(everything.tasks) == 2

    async def test_the_listing_reads_an_index_of_just_these(self, ledger: SqlLedger) -> None:
        statement = "SELECT id FROM ledger_tasks WHERE durability = 'ledger' AND state IN ('queued', 'running')"
        database = ledger._database
        if database.dialect != "sqlite":
            pytest.skip("Postgres decides by the tables' sizes")
        async with database.reading() as connection:
            plan = (await connection.execute(sa.text(f"EXPLAIN QUERY PLAN {statement}"))).all()
        assert "ledger_tasks_durable" in str(plan)
