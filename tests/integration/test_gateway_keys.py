"""Virtual keys over HTTP, with two gateways over one queue and one ledger."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sophia.access.keys import KeyTable, digest_of, new_key_text
from sophia.app.data_dir import key_secret
from sophia.settings.keyring import Keyring
from tests.support.gateways import HEADERS, OTHER_HEADERS, Platform, front_of_house
from tests.support.models import make_models
from tests.support.waiting import eventually

MODEL = "smollm2-135m-instruct"


@pytest_asyncio.fixture
async def pair(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Platform, Platform]]:
    async with contextlib.AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(
                front_of_house(
                    redis_url, tmp_path, models=make_models(chat_url="http://127.0.0.1:9/v1"), operator=operator
                )
            )
            for operator in (True, False)
        ]
        yield made[0], made[1]


async def ask(
    platform: Platform, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
) -> tuple[int, Any]:
    sent = {**HEADERS, **headers} if key is None else {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=sent) as session:
        async with session.request(method, platform.url + path, json=body) as answer:
            return answer.status, await answer.json(content_type=None)


async def test_a_key_is_shown_once_works_everywhere_and_is_refused_everywhere_once_revoked(
    pair: tuple[Platform, Platform],
) -> None:
    first, second = pair
    status, made = await ask(first, "POST", "/v1/keys", {"name": "widget", "requests_per_minute": 7})
    assert status == 201
    text = made["key"]
    assert made["prefix"] == f"{text[:26]}…"
    assert (made["tenant"], made["scopes"], made["requests_per_minute"], made["burst"]) == (
        "acme",
        ["inference"],
        7,
        7,
    )

    async def status_of(platform: Platform) -> int:
        return (await ask(platform, "GET", "/v1/models", key=text))[0]

    assert await status_of(first) == 200
    await eventually(lambda: _is(status_of(second), 200))
    _, listed = await ask(second, "GET", "/v1/keys")
    assert [key["id"] for key in listed["keys"]] == [made["id"]]
    assert text not in str(listed)
    (kept,) = await first.ledger.keys.keys(None, live_only=True)
    assert text not in str(kept)
    # One wrong character of the secret, and a key that has the right one of nothing else.
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for bad in (wrong, text[:26], text[:27], "sk-sophia-" + "0" * 16 + text[26:]):
        assert (await ask(first, "GET", "/v1/models", key=bad))[0] == 401
    status, revoked = await ask(second, "DELETE", f"/v1/keys/{made['id']}")
    assert (status, bool(revoked["revoked_at"])) == (200, True)
    assert await status_of(second) == 401
    await eventually(lambda: _is(status_of(first), 401))
    assert (await ask(first, "DELETE", f"/v1/keys/{made['id']}"))[1] == revoked


async def _is(status: Any, wanted: int) -> bool:
    return bool(await status == wanted)


async def test_what_a_key_may_do(pair: tuple[Platform, Platform]) -> None:
    first, second = pair
    _, plain = await ask(second, "POST", "/v1/keys", {"name": "plain", "models": [MODEL]})
    _, tasks = await ask(second, "POST", "/v1/keys", {"name": "tasks", "scopes": ["tasks"]})
    _, admin = await ask(second, "POST", "/v1/keys", {"name": "admin", "scopes": ["admin"]})
    allowed = {
        "plain": [200, 403, 403],
        "tasks": [403, 200, 403],
        "admin": [200, 200, 200],
    }
    for key in (plain, tasks, admin):
        paths = ("/v1/models", "/v1/tasks", "/v1/keys")
        assert [(await ask(second, "GET", path, key=key["key"]))[0] for path in paths] == allowed[key["name"]]
        assert (await ask(second, "GET", "/v1/poison", key=key["key"]))[0] == 403
    _, models = await ask(second, "GET", "/v1/models", key=plain["key"])
    assert [model["id"] for model in models["data"]] == [MODEL]
    status, error = await ask(
        second, "POST", "/v1/embeddings", {"model": "all-minilm-l6-v2", "input": "x"}, key=plain["key"]
    )
    assert status in (403, 404)
    assert error["error"]["param"] == "model"
    # Another tenant's keys are neither seen nor revoked, except by an operator, who may also make some.
    assert (await ask(second, "DELETE", f"/v1/keys/{plain['id']}", **OTHER_HEADERS))[0] == 404
    assert (await ask(second, "GET", "/v1/keys", **OTHER_HEADERS))[1] == {"keys": []}
    body = {"name": "theirs", "tenant": "globex"}
    assert (await ask(second, "POST", "/v1/keys", body))[0] == 403
    status, theirs = await ask(first, "POST", "/v1/keys", body)
    assert (status, theirs["tenant"]) == (201, "globex")
    assert len((await ask(first, "GET", "/v1/keys"))[1]["keys"]) == 4
    assert len((await ask(first, "GET", "/v1/keys?tenant=globex"))[1]["keys"]) == 1


async def test_bad_requests_for_keys_say_what_is_wrong(pair: tuple[Platform, Platform]) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    cases = [
        ({}, "name"),
        ({"name": "x", "models": ["smollm3"]}, "models[0]"),
        ({"name": "x", "expires_at": past}, "expires_at"),
        ({"name": "x", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": "x", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "x", "budget": {"usd_per_year": 1}}, "budget.usd_per_year"),
    ]
    answers = await asyncio.gather(*(ask(pair[1], "POST", "/v1/keys", body) for body, _ in cases))
    assert [(status, problem["field"]) for status, problem in answers] == [(422, field) for _, field in cases]


@pytest.mark.parametrize("expires_at_ms", [None, 1_000])
def test_an_expired_key_is_nobodys(tmp_path: Path, expires_at_ms: int | None) -> None:
    key_id, text = new_key_text()
    secret = key_secret(tmp_path)
    assert key_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "key-secret").stat().st_mode) == 0o600
    table = KeyTable(Keyring(()), secret)
    assert not table.loaded
    table.load([_key(key_id, digest_of(text, secret), expires_at_ms)])
    assert table.holder_of(text, 999) is not None
    assert (table.holder_of(text, 1_000) is None) is (expires_at_ms is not None)


def _key(key_id: str, digest: str, expires_at_ms: int | None) -> Any:
    from sophia.access.base import KeyLimits, Scope, VirtualKey

    return VirtualKey(
        id=key_id,
        tenant="acme",
        name="n",
        prefix="p",
        digest=digest,
        scopes=(Scope.INFERENCE,),
        limits=KeyLimits(),
        created_at_ms=0,
        created_by="config",
        expires_at_ms=expires_at_ms,
    )
