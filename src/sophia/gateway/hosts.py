"""GPU hosts join: a one-time token for credentials."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.gateway.schemas import HostJoined, JoinHost
from sophia.nouns.errors import Unavailable

MAX_BYTES = 4096


async def join_host(call: Call) -> Response:
    tokens = call.deps.join_tokens
    if tokens is None:
        raise Unavailable(
            "no host can join this platform", mend="join tokens are kept in Redis; this platform has none"
        )
    asked = decode(await read_body(call.request, MAX_BYTES), JoinHost)
    client = call.request.client
    joining = await tokens.exchange(asked.token, asked.host_key, client.host if client else "")
    answer = json_answer(
        HostJoined(
            instance_id=joining.instance_id,
            pool=joining.pool,
            environment=call.deps.loaded.host_credentials,
            settings=msgspec.to_builtins(call.settings),
        )
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer
