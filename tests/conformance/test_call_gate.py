"""The gate that every model call passes: what it promises, whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from sophia.access.base import (
    Ask,
    CacheAsk,
    CallGate,
    Entry,
    Grant,
    Hit,
    KeyLimits,
    OverRate,
    Scope,
    UnderWay,
    VirtualKey,
    account_of_key,
)
from sophia.access.flush import UsageFlush
from sophia.access.ledger_gate import LedgerCallGate
from sophia.access.redis import RedisCallGate, RedisCallUpkeep
from sophia.embedded.redis_server import RedisServer
from sophia.nouns.budget import TenantBudget
from sophia.nouns.clock import SystemClock
from sophia.nouns.errors import BudgetExceeded, SophiaError, Unavailable
from sophia.nouns.usage import Usage
from sophia.queue.base import Spent
from sophia.queue.budgets import day_of
from sophia.queue.redis import QueueOptions, RedisTaskQueue, RedisUpkeep
from sophia.redis.connection import Client, connect
from sophia.router.accounts import Bookkeeper
from sophia.router.reconcile import Reconciler
from sophia.store.sql import SqlLedger, open_ledger
from tests.support.budget_accounts import open_accounts
from tests.support.servers import chosen_server
from tests.support.waiting import eventually, turns_of_the_loop

CLOCK = SystemClock()


@pytest.fixture(params=["redis", "redis@6.2"])
def server_url(request: pytest.FixtureRequest) -> str:
    return chosen_server(request)[1]


@pytest_asyncio.fixture
async def redis_client(server_url: str) -> AsyncIterator[Client]:
    client = connect(server_url)
    await client.line.call("FLUSHALL")
    yield client
    await client.aclose()


def ask(**changes: Any) -> Ask:
    plain = Ask(
        tenant="acme",
        key="k1",
        model="m",
        provider="p",
        input_tokens=10,
        output_tokens=90,
        input_nano_usd=100,
        nano_usd=1_000,
        limits=KeyLimits(),
        budget=TenantBudget(),
    )
    return msgspec.structs.replace(plain, **changes)


def used(nano_usd: int = 1_000, read: int = 10, written: int = 90) -> Usage:
    return Usage(input_tokens=read, output_tokens=written, model_calls=1, cost_nano_usd=nano_usd)


@contextlib.asynccontextmanager
async def gates(client: Client, count: int = 1) -> AsyncIterator[list[RedisCallGate]]:
    made = [RedisCallGate(client, 1, CLOCK) for _ in range(count)]
    await open_accounts(RedisUpkeep(client, client, QueueOptions(streams=("light",))))
    try:
        yield made
    finally:
        for gate in made:
            await gate.close()


async def grant(gate: CallGate, wanted: Ask) -> Grant:
    opened = await gate.open(wanted)
    assert isinstance(opened, Grant)
    return opened


async def outcomes(calls: Iterable[Any]) -> tuple[list[Grant], list[SophiaError]]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, SophiaError)]
    return [answer for answer in answers if isinstance(answer, Grant)], refused


async def account(client: Client, name: str = "acme") -> dict[str, int]:
    day = day_of(CLOCK.now_ms())
    found = await client.line.call("HGETALL", f"sophia:{{0}}:spend:{name}:{day}")
    fields = {found[n].decode(): int(found[n + 1]) for n in range(0, len(found), 2)}
    return {name: value for name, value in fields.items() if value}


async def test_a_thousand_calls_at_once_through_two_gateways_spend_what_the_budget_allows(
    redis_client: Client,
) -> None:
    budget = TenantBudget(usd_per_day=100 * 1_000 / 1e9)
    async with gates(redis_client, 2) as pair:
        granted, refused = await outcomes(pair[n % 2].open(ask(budget=budget)) for n in range(1_000))
        assert (len(granted), len(refused)) == (100, 900)
        assert all(isinstance(error, BudgetExceeded) for error in refused)
        assert "usd_per_day of tenant 'acme'" in refused[0].message
        assert refused[0].field == "tenants.acme.budget.usd_per_day"
        assert refused[0].retry_after_s
        assert await account(redis_client) == {"rusd": 100_000, "rtok": 10_000}
        for n, one in enumerate(granted):
            owner = next(gate for gate in pair if one.id.startswith(gate._name))
            owner.settle(one, used() if n % 2 else used(0, 0, 0))
        for gate in pair:
            assert await gate.settled(10)
        assert await account(redis_client) == {"usd": 50_000, "tok": 5_000}
        granted, _ = await outcomes(pair[0].open(ask(budget=budget)) for _ in range(100))
        assert len(granted) == 50
        for one in granted:
            pair[0].settle(one, used())


async def test_calls_and_tasks_share_the_tenants_account(redis_client: Client) -> None:
    upkeep = RedisUpkeep(redis_client, redis_client, QueueOptions(streams=("light",)))
    assert not await upkeep.begin_accounts("t")
    day = day_of(CLOCK.now_ms())
    gate = RedisCallGate(redis_client, 1, CLOCK)
    budget = TenantBudget(usd_per_day=2_000 / 1e9)
    with pytest.raises(Unavailable):
        await gate.open(ask(budget=budget))
    await upkeep.fill_accounts("t", [Spent(tenant="acme", period=day, nano_usd=1_000, tokens=5)])
    assert await upkeep.open_accounts("t")
    held = await grant(gate, ask(budget=budget))
    with pytest.raises(BudgetExceeded):
        await gate.open(ask(budget=budget, nano_usd=1))
    gate.settle(held, used(500))
    await gate.settled(5)
    assert await account(redis_client) == {"usd": 1_500, "tok": 105}
    await gate.close()


async def test_a_keys_own_budget_counts_beside_the_tenants(redis_client: Client) -> None:
    own = KeyLimits(budget=TenantBudget(tokens_per_month=150))
    tenants = TenantBudget(tokens_per_day=1_000)
    async with gates(redis_client) as (gate,):
        held = await grant(gate, ask(limits=own, budget=tenants))
        with pytest.raises(BudgetExceeded, match="tokens_per_month of key k1"):
            await gate.open(ask(limits=own, budget=tenants))
        other = await grant(gate, ask(key="k2", limits=own, budget=tenants))
        gate.settle(held, used(1, 5, 5))
        gate.settle(other, used(1, 5, 5))
        await gate.settled(5)
        assert await account(redis_client) == {"usd": 2, "tok": 20}
        assert await account(redis_client, account_of_key("acme", "k1")) == {"usd": 1, "tok": 10}


async def test_rates_of_requests_and_tokens_with_burst(redis_client: Client) -> None:
    async with gates(redis_client, 2) as pair:
        limits = KeyLimits(requests_per_minute=1, burst=20)
        granted, refused = await outcomes(pair[n % 2].open(ask(limits=limits)) for n in range(50))
        assert len(granted) == 20
        assert min(one.rates[0].remaining for one in granted) == 0
        assert all(isinstance(error, OverRate) and 0 < (error.retry_after_s or 0) <= 60 for error in refused)
        by_tokens = KeyLimits(tokens_per_minute=1_000, token_burst=1_000)
        granted, refused = await outcomes(pair[0].open(ask(key="k2", limits=by_tokens)) for _ in range(20))
        assert len(granted) == 10
        assert granted[-1].rates[0].kind == "tokens"
        # What was estimated too high comes back.
        for one in granted:
            pair[0].settle(one, used(1, 10, 0))
        await pair[0].settled(5)
        granted, _ = await outcomes(pair[0].open(ask(key="k2", limits=by_tokens)) for _ in range(20))
        assert len(granted) == 9
        with pytest.raises(OverRate, match="at most 1,000 at once") as caught:
            await pair[0].open(ask(key="k2", limits=by_tokens, output_tokens=2_000))
        assert caught.value.retry_after_s is None


async def test_a_caller_that_leaves_before_its_verdict_holds_nothing(redis_client: Client) -> None:
    budget = TenantBudget(tokens_per_day=100)
    async with gates(redis_client) as (gate,):
        for number in range(40):
            leaving = asyncio.create_task(gate.open(ask(budget=budget)))
            await turns_of_the_loop(number)
            leaving.cancel()
            (opened,) = await asyncio.gather(leaving, return_exceptions=True)
            if isinstance(opened, Grant):
                gate.settle(opened, used(0, 0, 0))

        async def has_nothing() -> bool:
            # What was asked for last may not have been answered yet.
            return await gate.settled(1) and not await account(redis_client)

        await eventually(has_nothing, timeout_s=20)
        await gate.open(ask(budget=budget))


async def test_usage_reaches_the_ledger_once(redis_client: Client, ledger: SqlLedger) -> None:
    flush = UsageFlush(RedisCallUpkeep(redis_client, 1), ledger.calls, CLOCK)
    day = day_of(CLOCK.now_ms())
    async with gates(redis_client) as (gate,):
        for key in ("k1", "k1", "k2"):
            gate.settle(await grant(gate, ask(key=key)), used())
        gate.settle(await grant(gate, ask(key="k2")), used(5, 1, 1), provider="other")
        await gate.settled(5)
        upkeep = RedisCallUpkeep(redis_client, 1)
        # Whoever takes the batch may die at any point: it is given again until it is said to be recorded.
        for _ in range(3):
            ((batch,), _) = await upkeep.upkeep(10)
            await ledger.calls.record_calls(batch, CLOCK.now_ms())
        await flush.flush()
        assert (await upkeep.upkeep(10))[0] == []
    rows = await ledger.calls.calls("acme", day, day)
    assert [(row.key, row.provider, row.requests, row.output_tokens, row.cost_nano_usd) for row in rows] == [
        ("k1", "p", 2, 180, 2_000),
        ("k2", "other", 1, 1, 5),
        ("k2", "p", 1, 90, 1_000),
    ]
    today_ms = CLOCK.now_ms() // 86_400_000 * 86_400_000
    spent = await ledger.calls.spent_by(["acme", "acme/k2", "globex"], today_ms, today_ms + 86_400_000)
    assert spent == {"acme": (3_005, 302), "acme/k2": (1_005, 102)}
    assert await ledger.calls.calls("globex", day, day) == []


async def test_calls_of_a_gateway_that_died_are_charged_what_was_known(redis_client: Client, ledger: SqlLedger) -> None:
    budget = TenantBudget(usd_per_day=1.0)
    day = day_of(CLOCK.now_ms())
    upkeep = RedisCallUpkeep(redis_client, 1)
    flush = UsageFlush(upkeep, ledger.calls, CLOCK)
    async with gates(redis_client, 2) as (dying, living):
        begun = await grant(dying, ask(budget=budget))
        streaming = await grant(dying, ask(budget=budget))
        dying.progress(streaming, used(400, 10, 30))
        await dying.beat()
        other = await grant(living, ask(budget=budget))
        assert (await upkeep.upkeep(10))[1] is not None
        await let_lease_end(redis_client, dying)
        while (await flush.flush()) < 1:
            pass
        # The prompt of one, what had come of the other; what runs elsewhere is left alone.
        assert await account(redis_client) == {"usd": 500, "tok": 50, "rusd": 1_000, "rtok": 100}
        # It was only slow: what it says in the end holds, once.
        for _ in range(2):
            dying.settle(begun, used(700, 10, 60))
            dying.settle(streaming, used(900, 10, 80))
            assert await dying.settled(5)
        living.settle(other, used(0, 0, 0))
        await living.settled(5)
        assert await account(redis_client) == {"usd": 1_600, "tok": 160}
        await flush.flush()
    (row,) = await ledger.calls.calls("acme", day, day)
    assert (row.requests, row.input_tokens, row.output_tokens, row.cost_nano_usd) == (3, 20, 140, 1_600)


async def test_a_server_that_is_gone_for_a_while_loses_no_count(own_redis: RedisServer) -> None:
    client = connect(own_redis.url)
    budget = TenantBudget(usd_per_day=1.0)
    async with gates(client) as (gate,):
        running = [await grant(gate, ask(budget=budget)) for _ in range(10)]
        await own_redis.stop(5)
        with pytest.raises(Unavailable) as caught:
            await gate.open(ask(budget=budget))
        assert caught.value.retry_after_s
        for one in running:
            gate.settle(one, used(7, 1, 1))
        assert not await gate.settled(0.5)
        await own_redis.start()
        assert await gate.settled(20)
        assert await account(client) == {"usd": 70, "tok": 20}
    await client.aclose()


async def test_budgets_of_keys_and_calls_are_known_again_after_the_queue_was_lost(
    redis_client: Client, tmp_path: Path
) -> None:
    ledger = open_ledger(None, tmp_path)
    await ledger.migrate()
    flush = UsageFlush(RedisCallUpkeep(redis_client, 1), ledger.calls, CLOCK)
    own = KeyLimits(budget=TenantBudget(usd_per_month=1.0))
    budgets = {"acme": TenantBudget(usd_per_day=1.0)}
    key = VirtualKey(
        id="k1",
        tenant="acme",
        name="n",
        prefix="p",
        digest="d",
        scopes=(Scope.INFERENCE,),
        limits=own,
        created_at_ms=1,
        created_by="config",
    )
    await ledger.keys.add(key)
    options = QueueOptions(streams=("light",))
    upkeep = RedisUpkeep(redis_client, redis_client, options)
    async with gates(redis_client) as (gate,):
        for name in ("k1", "k2"):
            gate.settle(await grant(gate, ask(key=name, limits=own, budget=budgets["acme"])), used())
        await gate.settled(5)
        await flush.flush()
        await redis_client.line.call("FLUSHALL")
        reconciler = Reconciler(RedisTaskQueue(redis_client, options), upkeep, ledger, asyncio.Event())
        bookkeeper = Bookkeeper(upkeep, ledger, reconciler, budgets, CLOCK, (ledger.keys, ledger.calls))
        assert await bookkeeper.reopen()
        assert await account(redis_client) == {"usd": 2_000, "tok": 200}
        assert await account(redis_client, "acme/k1") == {"usd": 1_000, "tok": 100}
    await ledger.close()


async def test_without_redis_calls_are_counted_and_what_cannot_be_held_to_is_refused(ledger: SqlLedger) -> None:
    gate = LedgerCallGate(ledger.calls, CLOCK)
    day = day_of(CLOCK.now_ms())
    for budget, limits in (
        (TenantBudget(usd_per_day=1), KeyLimits()),
        (TenantBudget(), KeyLimits(budget=TenantBudget(tokens_per_day=1))),
    ):
        with pytest.raises(Unavailable, match="jetstream"):
            await gate.open(ask(budget=budget, limits=limits))
    limits = KeyLimits(requests_per_minute=1, burst=3)
    granted, refused = await outcomes(gate.open(ask(limits=limits)) for _ in range(9))
    assert (len(granted), len(refused)) == (3, 6)
    for one in granted:
        gate.settle(one, used())
    assert await gate.settled(20)
    await gate.close()
    (row,) = await ledger.calls.calls(None, day, day)
    assert (row.requests, row.cost_nano_usd) == (3, 3_000)


def cached(*keys: str, lead_s: float = 30.0, oldest_ms: int = 0) -> CacheAsk:
    many = len(keys)
    return CacheAsk(
        keys=tuple(f"acme:{key}" for key in keys),
        tokens=(100,) * many,
        nano_usd=(1_000,) * many,
        flight="+".join(keys),
        lead_s=lead_s,
        oldest_ms=oldest_ms,
    )


async def test_of_the_same_request_at_once_one_is_made_and_the_others_get_its_answer(redis_client: Client) -> None:
    budget = TenantBudget(tokens_per_day=100)
    async with gates(redis_client, 2) as pair:
        same = ask(budget=budget, cache=cached("a"))
        opened = [await pair[n % 2].open(same) for n in range(4)]
        (leading,) = (one for one in opened if isinstance(one, Grant))
        assert sum(isinstance(one, UnderWay) and 0 < one.at_most_s <= 30 for one in opened) == 3
        pair[0].settle(leading, used(), entries=[Entry("acme:a", b"\x00answer", 60.0)])
        assert await pair[0].settled(5)
        # What it spent leaves no room for another call, but this one needs none.
        hit = await pair[1].open(same)
        assert isinstance(hit, Hit)
        assert hit.cached == (b"\x00answer",)
        pair[1].count_hit(hit, 1_000)
        with pytest.raises(BudgetExceeded):
            await pair[1].open(ask(budget=budget, cache=cached("b")))
        assert await pair[1].settled(5)
        assert await account(redis_client) == {"usd": 1_000, "tok": 100}
        too_old = ask(cache=cached("a", oldest_ms=CLOCK.now_ms() + 60_000))
        assert isinstance(await pair[1].open(too_old), Grant)


async def test_a_leader_that_fails_or_dies_lets_the_next_one_lead(redis_client: Client) -> None:
    async with gates(redis_client, 2) as (first, second):
        failing = await grant(first, ask(cache=cached("a")))
        assert isinstance(await second.open(ask(cache=cached("a"))), UnderWay)
        first.settle(failing, used(0, 0, 0))
        assert await first.settled(5)
        await grant(second, ask(cache=cached("a", lead_s=0.2)))
        # That one is never heard of again.

        async def leads() -> bool:
            return isinstance(await first.open(ask(cache=cached("a"))), Grant)

        await eventually(leads, timeout_s=5)


async def test_only_the_parts_that_are_not_there_are_reserved(redis_client: Client) -> None:
    budget = TenantBudget(usd_per_day=1.0)
    async with gates(redis_client) as (gate,):
        begun = await grant(gate, ask(budget=budget, cache=cached("a", "b")))
        assert (begun.tokens, begun.nano_usd, begun.cached) == (200, 2_000, (None, None))
        gate.settle(begun, used(0, 0, 0), entries=[Entry("acme:b", b"B", 60.0)])
        assert await gate.settled(5)
        part = await grant(gate, ask(budget=budget, cache=cached("a", "b", "c")))
        assert (part.tokens, part.nano_usd, part.cached) == (200, 2_000, (None, b"B", None))
        gate.settle(part, used(0, 0, 0))
        assert await gate.settled(5)
        assert await account(redis_client) == {}


async def test_the_cache_keeps_within_its_bytes(redis_client: Client) -> None:
    gate = RedisCallGate(redis_client, 1, CLOCK, cache_bytes=10_000)
    for number in range(40):
        held = await grant(gate, ask(cache=cached(f"k{number}")))
        entries = [Entry(f"acme:k{number}", b"x" * 1_000, 60.0 + number), Entry("acme:huge", b"x" * 20_000, 60.0)]
        gate.settle(held, used(), entries=entries)
        assert await gate.settled(5)
    kept = [n for n in range(40) if isinstance(await gate.open(ask(cache=cached(f"k{n}"))), Hit)]
    assert kept == list(range(32, 40))
    assert int(await redis_client.line.call("GET", "sophia:{0}:cached:bytes")) <= 10_000
    await gate.close()


async def let_lease_end(client: Client, gate: RedisCallGate) -> None:
    await client.line.call("ZADD", "sophia:{0}:gateways", 1, gate._name)
