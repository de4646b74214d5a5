"""Tasks as the queue's entries hold them."""

from __future__ import annotations

import msgspec
import pytest

from sophia.nouns.budget import Budget, Reservation
from sophia.nouns.task import Durability, Priority, Route, Target, Task, Tier
from sophia.redis.bodies import pack, unpack

PLAIN = Task(
    id="0123456789abcdef0123456789abcdef",
    type="light",
    payload={"prompt": 'a "b" é'},
    route=Route(stream="light", target=Target.CPU, reason="no rule matched"),
    submitted_at_ms=1_700_000_000_000,
)
FULL = msgspec.structs.replace(
    PLAIN,
    tenant="acme",
    tier=Tier.QUALITY,
    priority=Priority.CRITICAL,
    budget=Budget(max_tokens=7),
    run_at_ms=1,
    deadline_at_ms=2,
    timeout_s=0.5,
    max_attempts=9,
    idempotency_key="k",
    labels={"a": "b"},
    reserved=Reservation(nano_usd=1, tokens=2),
    durability=Durability.LEDGER,
)


@pytest.mark.parametrize("task", [PLAIN, FULL])
def test_a_task_comes_back_as_it_went(task: Task) -> None:
    assert unpack(pack(task)) == task


def test_every_field_that_can_be_left_out_is_tried() -> None:
    plain, full = msgspec.structs.asdict(PLAIN), msgspec.structs.asdict(FULL)
    optional = {field.name for field in msgspec.structs.fields(Task) if not field.required}
    assert {name for name in plain if plain[name] != full[name]} == optional


def test_what_has_a_default_costs_nothing() -> None:
    assert len(pack(PLAIN)) < len(msgspec.json.encode(PLAIN)) - 75


def test_something_else_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        unpack(b'{"id":"x"}')
