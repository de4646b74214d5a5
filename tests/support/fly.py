"""An emulated Fly account for tests, every exchange with it held against the published document."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sophia.emulated.cloud import Nature
from sophia.emulated.fly import PREFIX, EmulatedFly
from sophia.nouns.clock import SystemClock
from sophia.providers.fly import FlyApp, FlyClient, FlyProvider
from sophia.providers.http import ApiTransport
from tests.support.clouds import CONTRACTS, contract, served

TOKEN = "emulated"
CUT = b'{"data":'
"""All that comes of an answer that is lost."""
DOCUMENT = "fly-machines.openapi.json"


class Checked:
    """Holds every request and answer that passes against the document. Objects may have no members that it does not
    know. What does not fit is kept in ``faults``."""

    def __init__(self, app: ASGIApp, document: Any) -> None:
        self.app = app
        self.paths = document["paths"]
        self.components = {"components": _closed(copy.deepcopy(document["components"]))}
        self.faults: list[str] = []
        self.seen: list[str] = []
        """Operations with their status."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        asked, given, status = bytearray(), bytearray(), 0
        # Read before the answer: a refusal may not wait for it.
        more = True
        while more:
            message = await receive()
            asked.extend(message.get("body", b""))
            more = message.get("more_body", False)
        unheard = [{"type": "http.request", "body": bytes(asked), "more_body": False}]

        async def heard() -> Message:
            return unheard.pop() if unheard else await receive()

        async def told(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            given.extend(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, heard, told)
        finally:
            self._check(scope, bytes(asked), status, bytes(given))

    def _check(self, scope: Scope, asked: bytes, status: int, given: bytes) -> None:
        operation = self._operation(scope["path"].removeprefix(PREFIX), scope["method"].lower())
        self.seen.append(f"{scope['method']} {operation['operationId']} {status}")
        wanted = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if wanted is not None:
            self._validate(wanted, asked, "request of")
        elif asked:
            self.faults.append(f"{self.seen[-1]} has a body")
        if given == CUT:
            return
        answers = operation["responses"]
        if 200 <= status < 300 and str(status) not in answers:
            self.faults.append(f"{self.seen[-1]} is no documented status")
        found = answers.get(str(status), {}).get("content", {}).get("application/json", {}).get("schema")
        if found is None and status >= 400:
            found = {"$ref": "#/components/schemas/ErrorResponse"}
        if found is not None:
            self._validate(found, given, "answer of")

    def _operation(self, path: str, method: str) -> Any:
        parts = path.split("/")
        for template, operations in self.paths.items():
            steps = template.split("/")
            if len(steps) == len(parts) and all(s == p or s[:1] == "{" for s, p in zip(steps, parts, strict=True)):
                return operations[method]
        raise AssertionError(f"{path} is not in the document")

    def _validate(self, schema: Any, body: bytes, what: str) -> None:
        try:
            jsonschema.Draft202012Validator(schema | self.components).validate(msgspec.json.decode(body))
        except (jsonschema.ValidationError, msgspec.DecodeError) as error:
            self.faults.append(f"{what} {self.seen[-1]}: {error}")


def _closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        for value in schema.values():
            _closed(value)
        if "properties" in schema and isinstance(schema["properties"], dict):
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        for value in schema:
            _closed(value)
    return schema


@contextlib.asynccontextmanager
async def emulated_fly(nature: Nature, *apps: str, **options: Any) -> AsyncIterator[tuple[EmulatedFly, str]]:
    """The account, and the base URL of its API. Its time is real time. Where the document is at hand, nothing that does
    not fit it may have been said when the test ends."""
    cloud = EmulatedFly(time.monotonic, nature, apps=apps, token=TOKEN, **options)
    if not (CONTRACTS / DOCUMENT).exists():
        async with served(cloud.app) as url:
            yield cloud, url + PREFIX
        return
    checked = Checked(cloud.app, contract(DOCUMENT))
    async with served(checked) as url:
        yield cloud, url + PREFIX
    assert checked.faults == [], "\n".join(checked.faults)


def fly_client(url: str, *, token: str = TOKEN, rate_per_s: float = 0.0) -> FlyClient:
    return FlyClient(ApiTransport(url, token, 5.0, "Fly"), SystemClock(), rate_per_s=rate_per_s)


def fly_provider(url: str, *pools: str, owner: str = "tests", drain_timeout_s: float = 10.0) -> FlyProvider:
    apps = {
        pool: FlyApp(
            name=pool,
            image="registry.test/worker:1",
            command=("worker", "--pool", pool),
            environment={"SOPHIA_PROFILE": "hosted"},
            drain_timeout_s=drain_timeout_s,
        )
        for pool in pools
    }
    return FlyProvider(fly_client(url), apps, owner=owner)
