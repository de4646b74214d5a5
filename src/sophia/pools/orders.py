"""What operators order, as the pool manager takes it: each order once, answered in words, and not after its time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from sophia.events.base import EventLog
from sophia.nouns.clock import Clock
from sophia.nouns.errors import SophiaError
from sophia.nouns.pool import (
    POOL_ANSWERS,
    POOL_ORDERS,
    Instance,
    InstanceState,
    PoolAnswer,
    PoolAnswers,
    PoolOrder,
    PoolOrders,
    PoolSpec,
)
from sophia.pools.act import Actor
from sophia.pools.roster import Roster
from sophia.providers.base import Provider

log = logging.getLogger(__name__)

ANSWERS_KEPT = 100


class OrderBook:
    """Orders and answers are snapshots of the event log: whoever leads next sees which are done."""

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._answers: tuple[PoolAnswer, ...] | None = None

    async def open(self) -> Sequence[PoolOrder]:
        """Orders that nobody has answered and whose time is not over. Raises ``Unavailable``."""
        body = await self._events.snapshot(POOL_ORDERS)
        if body is None:
            return ()
        now_ms = self._clock.now_ms()
        current = [one for one in msgspec.json.decode(body, type=PoolOrders).orders if one.expires_at_ms > now_ms]
        if not current:
            return ()
        if self._answers is None:
            answered = await self._events.snapshot(POOL_ANSWERS)
            self._answers = () if answered is None else msgspec.json.decode(answered, type=PoolAnswers).answers
        done = {answer.id for answer in self._answers}
        return [one for one in current if one.id not in done]

    async def answer(self, order: PoolOrder, ok: bool, message: str) -> None:
        answers = (*(self._answers or ()), PoolAnswer(id=order.id, ok=ok, message=message))[-ANSWERS_KEPT:]
        self._answers = answers
        await self._events.put_snapshot(POOL_ANSWERS, msgspec.json.encode(PoolAnswers(answers=answers)))

    def forget(self) -> None:
        """Somebody else may have answered meanwhile."""
        self._answers = None


class OrderDesk:
    """Carries orders out. Which pools are cordoned is kept in the snapshot of the pools."""

    def __init__(
        self,
        pools: Mapping[str, PoolSpec],
        providers: Mapping[str, Provider],
        roster: Roster,
        actor: Actor,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._pools = pools
        self._providers = providers
        self._roster = roster
        self._actor = actor
        self._book = OrderBook(events, clock)
        self.cordoned: set[str] = set()

    def open(self, cordoned: frozenset[str]) -> None:
        self.cordoned = set(cordoned)
        self._book.forget()

    async def carry_out(self) -> None:
        """All open orders. Trouble with the event log leaves them for the next pass, or to their end."""
        try:
            for order in await self._book.open():
                ok, message = await self._one(order)
                log.info("ordered by %s: %s %s: %s", order.by, order.verb, order.instance or order.pool, message)
                await self._book.answer(order, ok, message)
        except (SophiaError, msgspec.DecodeError) as error:
            log.warning("orders of operators are left alone: %s", error)

    async def _one(self, order: PoolOrder) -> tuple[bool, str]:
        spec = self._pools.get(order.pool)
        if spec is None or spec.provider not in self._providers:
            return False, f"provider {spec.provider} is not set up here" if spec else f"there is no pool {order.pool!r}"
        match order.verb:
            case "cordon" | "uncordon":
                return self._cordon(order)
            case "launch":
                live = len(self._roster.live(order.pool))
                if order.pool in self.cordoned:
                    return False, "the pool is cordoned"
                if live >= spec.max:
                    return False, f"{live} there, maximum {spec.max}"
                return await self._actor.launch_one(order.pool, spec, f"ordered by {order.by}", dry_run=order.dry_run)
            case _:
                return await self._end(order, self._providers[spec.provider])

    def _cordon(self, order: PoolOrder) -> tuple[bool, str]:
        wanted = order.verb == "cordon"
        if not order.dry_run:
            (self.cordoned.add if wanted else self.cordoned.discard)(order.pool)
        would = "would be" if order.dry_run else "is"
        return True, f"{order.pool} {would} {'cordoned: nothing is launched' if wanted else 'open for launches'}"

    async def _end(self, order: PoolOrder, provider: Provider) -> tuple[bool, str]:
        instance = self._roster.get(order.instance)
        if instance is None or instance.state is InstanceState.TERMINATED or instance.pool != order.pool:
            return False, f"{order.pool} has no instance {order.instance!r}"
        what = _described(instance)
        if order.dry_run:
            return True, f"would {order.verb} {what}"
        act = self._actor.drain if order.verb == "drain" else self._actor.terminate
        await act(provider, instance, f"ordered by {order.by}")
        return True, f"{'draining' if order.verb == 'drain' else 'terminated'} {what}"


def _described(instance: Instance) -> str:
    running = f", {instance.busy} tasks running" if instance.busy else ""
    return f"{instance.id} ({instance.instance_type} at ${instance.price_usd_per_hour:g}/h{running})"
