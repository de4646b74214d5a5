"""Functions that live in the server, and the scripts that stand in for them."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions as driver

from sophia.redis.connection import Client, connect
from sophia.redis.library import Library

SHARED = """
local keys, args
local function run(body, keys_, args_)
  keys, args = keys_, args_
  return body()
end
local function key_of(name) return keys[1] .. ':' .. name end
"""
FUNCTIONS = {
    "put": "return redis.call('SET', key_of(args[1]), args[2])",
    "look": "return redis.call('GET', key_of(args[1]))",
    "wrong": "return redis.call('LPUSH', key_of('name'), 'x')",
}


def library(client: Client, functions: dict[str, str] | None = None) -> Library:
    return Library(client, "sophia_test", SHARED, functions or FUNCTIONS, run="run")


async def count(client: Client, command: str) -> int:
    return int((await client.info("commandstats")).get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_functions_are_loaded_once(redis_client: Client):
    await redis_client.function_flush()
    await redis_client.config_resetstat()
    lua = library(redis_client)
    assert await lua.call("put", "k", ["name", "value"]) == b"OK"
    assert [await lua.call("look", "k", ["name"]) for _ in range(3)] == [b"value"] * 3
    assert await library(redis_client).call("look", "k", ["name"]) == b"value"
    assert await count(redis_client, "function|load") == 1
    assert await count(redis_client, "evalsha") == 0


async def test_a_server_that_lost_them_gets_them_again(redis_client: Client):
    lua = library(redis_client)
    await lua.call("put", "k", ["name", "value"])
    await redis_client.function_flush()
    assert await asyncio.gather(*(lua.call("look", "k", ["name"]) for _ in range(20))) == [b"value"] * 20


async def test_versions_stand_side_by_side(redis_client: Client):
    before, after = library(redis_client), library(redis_client, {**FUNCTIONS, "look": "return 'new'"})
    await before.call("put", "k", ["name", "old"])
    assert [await lua.call("look", "k", ["name"]) for lua in (before, after, before)] == [b"old", b"new", b"old"]


async def test_an_error_of_a_function_is_the_callers(redis_client: Client):
    lua = library(redis_client)
    await lua.call("put", "k", ["name", "value"])
    with pytest.raises(driver.ResponseError, match="WRONGTYPE"):
        await lua.call("wrong", "k", [])


async def test_a_server_without_functions_gets_scripts(redis_6_2_url: str):
    client = connect(redis_6_2_url)
    lua = library(client)
    await lua.call("put", "k", ["name", "value"])
    assert [await lua.call("look", "k", ["name"]) for _ in range(2)] == [b"value"] * 2
    with pytest.raises(driver.ResponseError, match="WRONGTYPE"):
        await lua.call("wrong", "k", [])
    await client.aclose()


@pytest.mark.parametrize("right", ["-function", "-fcall"])
async def test_a_user_who_may_not_use_functions_gets_scripts(redis_client: Client, redis_url: str, right: str):
    await redis_client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">word", "~*", "+@all", right)
    await redis_client.function_flush()
    path = redis_url.partition("://")
    client = connect(f"{path[0]}://narrow:word@{path[2]}")
    lua = library(client)
    assert await lua.call("put", "k", ["name", "value"]) == b"OK"
    assert await lua.call("look", "k", ["name"]) == b"value"
    await client.aclose()
    await redis_client.execute_command("ACL", "DELUSER", "narrow")
