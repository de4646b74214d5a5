"""The ledger contract, over SQLite and over a real Postgres."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sophia.nouns.errors import ConfigError, InvalidInput
from sophia.nouns.pool import Instance, InstanceState
from sophia.nouns.task import Route, Target, TaskRecord, TaskState
from sophia.nouns.usage import Usage
from sophia.store.base import TaskFilter, UsageRow
from sophia.store.sql import SqlLedger
from sophia.store.sums import DAY_MS
from sophia.store.tables import metadata, schema
from tests.support.ledgers import LedgerPlace
from tests.support.record_strategies import histories, records
from tests.support.records import START_MS, attempt, finished, queued
from tests.support.tasks import make_task

# The database outlives the examples on purpose: each uses tasks with ids of their own.
examples = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class TestRecords:
    @examples
    @given(record=records)
    async def test_every_field_comes_back(self, ledger: SqlLedger, record: TaskRecord) -> None:
        await ledger.record([record])
        assert await ledger.task(record.task.id) == record

    async def test_unknown_task(self, ledger: SqlLedger) -> None:
        assert await ledger.task("nobody") is None

    async def test_nothing_to_record(self, ledger: SqlLedger) -> None:
        await ledger.record([])

    @examples
    @given(versions=histories(), data=st.data())
    async def test_the_newest_version_stays_in_whatever_order_they_come(
        self, ledger: SqlLedger, versions: list[TaskRecord], data: st.DataObject
    ) -> None:
        seen_twice = versions + data.draw(st.lists(st.sampled_from(versions), max_size=3))
        arriving = data.draw(st.permutations(seen_twice))
        cut = data.draw(st.integers(0, len(arriving)))
        await ledger.record(arriving[:cut])
        await ledger.record(arriving[cut:])
        last = versions[-1]
        assert await ledger.task(last.task.id) == last
        rows = await ledger.usage(last.task.tenant, "1970-01-01", "3100-01-01")
        total = sum((row.usage for row in rows), Usage())
        assert total.run_s == pytest.approx(last.usage.run_s)
        assert total == msgspec.structs.replace(last.usage, run_s=total.run_s)
        assert all(row.tasks == 1 for row in rows)

    async def test_a_redrive_takes_the_result_back(self, ledger: SqlLedger) -> None:
        done = finished()
        again = msgspec.structs.replace(
            done, state=TaskState.QUEUED, updated_at_ms=START_MS + 1, finished_at_ms=None, result=None
        )
        await ledger.record([done])
        await ledger.record([again])
        assert await ledger.task(done.task.id) == again

    async def test_a_final_state_is_not_left_within_its_millisecond(self, ledger: SqlLedger) -> None:
        done = finished()
        await ledger.record([done])
        await ledger.record([msgspec.structs.replace(done, state=TaskState.QUEUED, finished_at_ms=None)])
        assert await ledger.task(done.task.id) == done

    async def test_all_or_nothing(self, ledger: SqlLedger) -> None:
        good, bad = queued(), queued(make_task(tenant="a\x00b"))
        with pytest.raises(InvalidInput):
            await ledger.record([good, bad])
        assert await ledger.task(good.task.id) is None

    async def test_values_that_no_column_holds(self, ledger: SqlLedger) -> None:
        with pytest.raises(InvalidInput):
            await ledger.record([queued(make_task(submitted_at_ms=2**63))])
        with pytest.raises(InvalidInput):
            await ledger.task("a\x00b")

    async def test_two_engines_write_the_same_tasks_at_once(self, ledger: SqlLedger, second_ledger: SqlLedger) -> None:
        tasks = [make_task() for _ in range(30)]
        versions = [
            [
                TaskRecord(
                    task=task,
                    state=TaskState.RETRYING,
                    attempts=tuple(
                        attempt(number, START_MS + number, usage=Usage(cost_nano_usd=1))
                        for number in range(1, version + 1)
                    ),
                    updated_at_ms=START_MS + version,
                )
                for task in tasks
            ]
            for version in range(12)
        ]
        async with asyncio.TaskGroup() as group:
            for number, batch in enumerate(versions):
                engine = ledger if number % 2 else second_ledger
                # Opposite orders: the ledger has to put them into one, or writers wait for each other in a circle.
                group.create_task(engine.record(batch if number % 3 else batch[::-1]))
        assert [await ledger.task(task.id) for task in tasks] == versions[-1]
        [row] = await ledger.usage(None, "2026-01-01", "2026-01-01")
        assert (row.tasks, row.usage.cost_nano_usd) == (30, 30 * 11)


class TestLists:
    async def test_pages_are_complete_and_without_repeats_while_tasks_come(
        self, ledger: SqlLedger, second_ledger: SqlLedger
    ) -> None:
        # Many of the same millisecond, so that pages are cut between equals.
        there = [queued(make_task(submitted_at_ms=START_MS + number // 10)) for number in range(60)]
        await ledger.record(there)
        stop = asyncio.Event()

        async def keep_inserting() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                await second_ledger.record([queued(make_task(submitted_at_ms=START_MS + number % 12))])

        seen: list[TaskRecord] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_inserting())
            cursor: str | None = None
            while True:
                page = await ledger.tasks(TaskFilter(), cursor, 7)
                seen += page.tasks
                cursor = page.next_cursor
                if cursor is None:
                    break
            stop.set()
        keys = [(record.task.submitted_at_ms, record.task.id) for record in seen]
        assert keys == sorted(set(keys), reverse=True)
        assert {record.task.id for record in there} <= {record.task.id for record in seen}

    async def test_rows_have_everything_but_the_result(self, ledger: SqlLedger) -> None:
        done = finished()
        await ledger.record([done])
        page = await ledger.tasks(TaskFilter(), None, 1)
        assert page.tasks == [msgspec.structs.replace(done, result=None)]
        assert page.next_cursor is None

    async def test_filters_agree_with_a_plain_search(self, ledger: SqlLedger) -> None:
        tenants, streams, types = ("a", "b"), ("light", "planning", "coding"), ("light", "long_planning")
        there = [
            msgspec.structs.replace(
                queued(
                    make_task(
                        tenant=tenants[number % 2],
                        type=types[number % 5 % 2],
                        route=Route(stream=streams[number % 3], target=Target.CPU, reason=""),
                        submitted_at_ms=START_MS + number,
                    )
                ),
                state=list(TaskState)[number % 7],
            )
            for number in range(70)
        ]
        await ledger.record(there)
        for tenant, states, kinds, routes, after, before in itertools.product(
            (None, "a"),
            ((), (TaskState.FAILED, TaskState.QUEUED)),
            ((), ("light",)),
            ((), ("coding", "light")),
            (None, START_MS + 20),
            (None, START_MS + 60),
        ):
            where = TaskFilter(
                tenant=tenant,
                states=states,
                types=kinds,
                streams=routes,
                submitted_after_ms=after,
                submitted_before_ms=before,
            )
            found = await ledger.tasks(where, None, 100)
            assert found.tasks == [record for record in reversed(there) if _matches(where, record)], where

    async def test_bad_cursors(self, ledger: SqlLedger) -> None:
        for cursor in ("", "x", "!!!", "WzEsMl0", "W10", "e30", "WzEsImEiXQ==", "WzEsImFcdTAwMDBiIl0", "ÿ", "null"):
            with pytest.raises(InvalidInput) as caught:
                await ledger.tasks(TaskFilter(), cursor, 10)
            assert caught.value.field == "cursor"

    async def test_bad_limits(self, ledger: SqlLedger) -> None:
        for limit in (0, -1, 1_001):
            with pytest.raises(InvalidInput) as caught:
                await ledger.tasks(TaskFilter(), None, limit)
            assert caught.value.field == "limit"


class TestUsage:
    async def test_sums_are_exact_whatever_is_repeated_and_pruned(self, ledger: SqlLedger) -> None:
        there = [_two_day_task(number) for number in range(40)]
        expected = _summed(there)
        days = ("2026-01-01", "2026-01-31")
        await ledger.record(there)
        assert await ledger.usage(None, *days) == expected
        await ledger.record(there[::2])
        assert await ledger.usage(None, *days) == expected
        assert await ledger.prune(START_MS + 4 * DAY_MS + 1, 15) == 15
        assert await ledger.usage(None, *days) == expected
        # The queue repeats records that the ledger has forgotten: they come back, their money does not count twice.
        await ledger.record(there)
        assert await ledger.usage(None, *days) == expected
        assert await ledger.prune(START_MS + 30 * DAY_MS, 1_000) == 40
        assert await ledger.usage(None, *days) == expected
        assert await ledger.usage("b", *days) == [row for row in expected if row.tenant == "b"]
        second = [row for row in expected if row.day == "2026-01-02"]
        assert await ledger.usage(None, "2026-01-02", "2026-01-02") == second
        assert second
        assert await ledger.usage(None, "2026-01-31", "2026-01-01") == []

    async def test_the_day_is_the_utc_day_of_the_attempts_end(self, ledger: SqlLedger) -> None:
        before, after = finished(at_ms=START_MS - 1), finished(at_ms=START_MS)
        await ledger.record([before, after])
        rows = await ledger.usage(None, "2025-12-31", "2026-01-01")
        assert [(row.day, row.tasks) for row in rows] == [("2025-12-31", 1), ("2026-01-01", 1)]

    async def test_a_running_attempt_counts_once_it_ends(self, ledger: SqlLedger) -> None:
        task = make_task()
        running = TaskRecord(
            task=task, state=TaskState.RUNNING, attempts=(attempt(usage=Usage(model_calls=1)),), updated_at_ms=START_MS
        )
        await ledger.record([running])
        assert await ledger.usage(None, "2026-01-01", "2026-01-01") == []
        await ledger.record([finished(task, START_MS + 5, Usage(model_calls=3))])
        [row] = await ledger.usage(None, "2026-01-01", "2026-01-01")
        assert (row.tasks, row.usage) == (1, Usage(model_calls=3))

    async def test_bad_days(self, ledger: SqlLedger) -> None:
        for day in ("", "yesterday", "2026-02-30", "2026-01-01T00:00", "20260101"):
            for days, field in ((day, "2026-01-01"), "from_day"), (("2026-01-01", day), "to_day"):
                with pytest.raises(InvalidInput) as caught:
                    await ledger.usage(None, *days)
                assert caught.value.field == field


class TestPrune:
    async def test_only_finished_tasks_that_are_old_go_oldest_first(self, ledger: SqlLedger) -> None:
        old = [finished(at_ms=START_MS + number) for number in range(5)]
        young, waiting = finished(at_ms=START_MS + 100), queued(at_ms=START_MS)
        redriven = TaskRecord(
            task=make_task(), state=TaskState.QUEUED, updated_at_ms=START_MS + 1, finished_at_ms=START_MS
        )
        await ledger.record([*old, young, waiting, redriven])
        assert await ledger.prune(START_MS + 100, 3) == 3
        assert [await ledger.task(record.task.id) for record in old] == [None, None, None, *old[3:]]
        assert await ledger.prune(START_MS + 100, 3) == 2
        assert await ledger.prune(START_MS + 100, 3) == 0
        for record in (young, waiting, redriven):
            assert await ledger.task(record.task.id) == record

    async def test_several_at_once_count_every_task_once(self, ledger: SqlLedger, second_ledger: SqlLedger) -> None:
        await ledger.record([finished() for _ in range(40)])
        gone = await asyncio.gather(*(one.prune(START_MS + 1, 7) for one in (ledger, second_ledger) * 4))
        assert sum(gone) == 40
        [row] = await ledger.usage(None, "2026-01-01", "2026-01-01")
        assert (row.tasks, row.usage.cost_nano_usd) == (40, 40)

    async def test_bad_limit(self, ledger: SqlLedger) -> None:
        with pytest.raises(InvalidInput):
            await ledger.prune(START_MS, 0)


class TestInstances:
    async def test_the_latest_state_is_kept(self, ledger: SqlLedger) -> None:
        first = Instance(id="i-1", pool="gpu", state=InstanceState.REQUESTED, requested_at_ms=START_MS)
        second = Instance(
            id="i-2",
            pool="gpu",
            state=InstanceState.READY,
            provider_ref="0920582c",
            instance_type="gpu_1x_a6000",
            region="us-east-1",
            price_usd_per_hour=0.8,
            requested_at_ms=START_MS - 1,
            ready_at_ms=START_MS,
            idle_since_ms=START_MS + 1,
            busy=0,
            slots=4,
            reason="two tasks wait",
        )
        ended = msgspec.structs.replace(first, state=InstanceState.TERMINATED, reason="idle for 300 s")
        for instance in (first, second, second):
            await ledger.record_instance(instance)
        assert await ledger.instances(live_only=True) == [second, first]
        await ledger.record_instance(ended)
        assert await ledger.instances(live_only=True) == [second]
        assert await ledger.instances(live_only=False) == [second, ended]

    async def test_prune_forgets_those_that_ended_long_ago(self, ledger: SqlLedger) -> None:
        live = Instance(id="live", pool="gpu", state=InstanceState.READY, requested_at_ms=START_MS)
        gone = Instance(id="gone", pool="gpu", state=InstanceState.TERMINATED, requested_at_ms=START_MS)
        await ledger.record_instance(live)
        await ledger.record_instance(gone)
        await ledger.prune(START_MS, 10)
        assert await ledger.instances(live_only=False) == [gone, live]
        await ledger.prune(2**45, 10)
        assert await ledger.instances(live_only=False) == [live]


class TestSchema:
    async def test_everything_survives_a_restart(self, ledger_place: LedgerPlace) -> None:
        done = finished()
        for _ in range(2):
            opened = ledger_place.open()
            await opened.migrate()
            await opened.record([done])
            assert await opened.task(done.task.id) == done
            await opened.close()

    async def test_several_engines_migrate_at_once(self, ledger_place: LedgerPlace) -> None:
        opened = [ledger_place.open() for _ in range(5)]
        await asyncio.gather(*(one.migrate() for one in opened))
        done = finished()
        await opened[0].record([done])
        assert [await one.task(done.task.id) for one in opened] == [done] * 5
        for one in opened:
            await one.close()

    async def test_a_newer_schema_is_refused(self, ledger: SqlLedger) -> None:
        async with ledger._database.writing() as connection:
            await connection.execute(schema.insert().values(version=999))
        with pytest.raises(ConfigError, match="version 999"):
            await ledger.migrate()

    async def test_without_tables_the_mend_is_named(self, ledger_place: LedgerPlace) -> None:
        opened = ledger_place.open()
        await opened._database.prepare()
        with pytest.raises(ConfigError, match="no tables"):
            await opened.task("nobody")
        await opened.close()

    async def test_the_tables_are_those_that_queries_expect(self, ledger: SqlLedger) -> None:
        async with ledger._database.reading() as connection:
            made = await connection.run_sync(lambda sync: _reflected(sync))
        assert made == {
            table.name: {column.name: (column.nullable, column.primary_key) for column in table.columns}
            for table in metadata.tables.values()
        }


def _matches(where: TaskFilter, record: TaskRecord) -> bool:
    task = record.task
    return (
        where.tenant in (None, task.tenant)
        and (not where.states or record.state in where.states)
        and (not where.types or task.type in where.types)
        and (not where.streams or task.route.stream in where.streams)
        and (where.submitted_after_ms is None or task.submitted_at_ms > where.submitted_after_ms)
        and (where.submitted_before_ms is None or task.submitted_at_ms < where.submitted_before_ms)
    )


def _two_day_task(number: int) -> TaskRecord:
    """Failed on one day and succeeded on that or a later one, with sums that floats could not hold."""
    ends = START_MS + number % 3 * DAY_MS, START_MS + number % 4 * DAY_MS + 3 * DAY_MS
    made = tuple(
        attempt(index, end, usage=Usage(input_tokens=number, run_s=0.5, cost_nano_usd=2**53 + number))
        for index, end in enumerate(ends, start=1)
    )
    return TaskRecord(
        task=make_task(tenant="ab"[number % 2], type=("light", "web_research")[number % 5 % 2]),
        state=TaskState.SUCCEEDED,
        attempts=made,
        updated_at_ms=ends[1],
        finished_at_ms=ends[1],
    )


def _summed(there: list[TaskRecord]) -> list[UsageRow]:
    sums: dict[tuple[str, str, str], Usage] = defaultdict(Usage)
    tasks: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for record in there:
        for made in record.attempts:
            assert made.ended_at_ms is not None
            day = f"2026-01-{1 + (made.ended_at_ms - START_MS) // DAY_MS:02}"
            key = day, record.task.tenant, record.task.type
            sums[key] += made.usage
            tasks[key].add(record.task.id)
    return [
        UsageRow(tenant=key[1], type=key[2], day=key[0], tasks=len(tasks[key]), usage=sums[key]) for key in sorted(sums)
    ]


def _reflected(connection: sa.Connection) -> dict[str, dict[str, tuple[bool, bool]]]:
    found = sa.MetaData()
    found.reflect(connection)
    return {
        table.name: {column.name: (bool(column.nullable), column.primary_key) for column in table.columns}
        for table in found.tables.values()
    }
