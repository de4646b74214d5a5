"""Small parts of the gateway: ids, keys, views."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from sophia.gateway.openai_forward import refusal
from sophia.gateway.streaming import while_connected
from sophia.nouns.errors import InvalidInput, RateLimited, Unavailable, UpstreamError
from sophia.nouns.ids import IdSource, is_task_id
from sophia.nouns.title import title_of
from sophia.settings.keyring import Keyring
from sophia.settings.loaded import TenantKey
from tests.support.tasks import make_task


@given(st.lists(st.integers(0, 2**48 - 2), min_size=1, max_size=50))
def test_ids_rise_whatever_the_clock_does_and_are_uuids_of_version_7(times: list[int]) -> None:
    source = IdSource()
    ids = [source.new(time) for time in times]
    assert ids == sorted(set(ids))
    assert all(is_task_id(made) and uuid.UUID(made).version == 7 for made in ids)
    assert all(uuid.UUID(made).variant == uuid.RFC_4122 for made in ids)


def test_an_id_tells_its_millisecond() -> None:
    assert int(IdSource().new(1_767_225_600_000)[:12], 16) == 1_767_225_600_000


def test_keys_lead_to_their_tenant_only() -> None:
    ring = Keyring([TenantKey(tenant="a", key="one"), TenantKey(tenant="b", key="two")])
    assert [ring.tenant_of(key) for key in ("one", "two", "One", "", "one ")] == ["a", "b", None, None, None]


@pytest.mark.parametrize(
    ("payload", "title"),
    [
        ({"goal": "  build\n a   house "}, "build a house"),
        ({"prompt": "x" * 200}, "x" * 119 + "…"),
        ({"texts": ["a"]}, "1 text"),
        ({"texts": ["a", "b"]}, "2 texts"),
        ({}, "light"),
    ],
)
def test_a_task_has_a_title_of_one_line(payload: dict[str, object], title: str) -> None:
    assert title_of(make_task(payload=payload)) == title


@pytest.mark.parametrize(
    ("status", "kind", "shown"),
    [
        (400, InvalidInput, None),
        (422, InvalidInput, None),
        (401, UpstreamError, 401),
        (404, UpstreamError, 404),
        (429, RateLimited, None),
        (500, Unavailable, None),
        (503, Unavailable, None),
    ],
)
def test_a_providers_refusal_is_translated(status: int, kind: type[Exception], shown: int | None) -> None:
    error = refusal("vllm", status, {"retry-after": "7"}, b'{"error": {"message": "no", "param": "top_p"}}')
    assert isinstance(error, kind)
    assert getattr(error, "status", None) == shown
    assert "no" in error.message
    assert error.retry_after_s == (7 if status == 429 or status >= 500 else None)


async def test_work_is_cancelled_when_the_client_leaves() -> None:
    gone = asyncio.Event()
    cancelled = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def work() -> None:
        try:
            gone.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        async with asyncio.timeout(5):
            await while_connected(receive, work())
    assert cancelled.is_set()


async def test_whoever_is_cancelled_from_outside_is_not_told_that_the_client_left() -> None:
    started = asyncio.Event()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(while_connected(receive, work()))
    async with asyncio.timeout(5):
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert task.cancelled()


async def test_work_that_ends_as_the_client_leaves_keeps_its_task_usable() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "ended all the same"
        return ""

    async with asyncio.timeout(5):
        assert await while_connected(receive, work()) == "ended all the same"
        # Nothing of the cancellation is left.
        await asyncio.get_running_loop().run_in_executor(None, int)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
