"""Tasks of known outcome, submitted as a careful client does it, and counted at the end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import msgspec

from tests.support.platform import Platform

FINAL = ("succeeded", "failed", "cancelled", "dead")
SUBMITTERS = 8
SUBMIT_WITHIN_S = 300.0
FINISH_WITHIN_S = 1_800.0


def body_of(number: int) -> tuple[dict[str, Any], str]:
    """A task and the state it must end in, by its number."""
    common: dict[str, Any] = {"max_attempts": 50, "labels": {"number": str(number)}}
    if number % 10 == 0:
        return {**common, "type": "light", "payload": {"prompt": "Say hi.", "max_tokens": 4}}, "succeeded"
    if number % 10 == 1:
        # One token may be spent, and the prompt alone takes more.
        budget = {"max_tokens": 1}
        return {**common, "type": "light", "payload": {"prompt": "Say hi."}, "budget": budget}, "failed"
    texts = [f"text {number} {n}" for n in range(1 + number % 7)]
    return {**common, "type": "batch_embedding", "payload": {"texts": texts, "encoding": "base64"}}, "succeeded"


class Load:
    """Submits over a time, so that there is work whatever breaks."""

    def __init__(self, platform: Platform, tasks: int, over_s: float) -> None:
        self._platform = platform
        self._numbers = iter(range(tasks))
        self._tasks = tasks
        self._every_s = over_s / tasks
        self._ids: dict[int, str] = {}
        self._states: dict[str, str] = {}
        self._started_s = 0.0
        self.over = asyncio.Event()

    def progress(self) -> str:
        return f"{len(self._ids)} accepted, {len(self._states)} finished"

    async def run(self) -> None:
        self._started_s = time.monotonic()
        async with self._session() as session, asyncio.TaskGroup() as group:
            submitters = [group.create_task(self._submit_some(session)) for _ in range(SUBMITTERS)]
            group.create_task(self._follow(session, submitters))

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self._platform.api_key}"}
        return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20))

    async def _submit_some(self, session: aiohttp.ClientSession) -> None:
        for number in self._numbers:
            await asyncio.sleep(max(0.0, self._started_s + number * self._every_s - time.monotonic()))
            self._ids[number] = await self._submit(session, number)

    async def _submit(self, session: aiohttp.ClientSession, number: int) -> str:
        until = time.monotonic() + SUBMIT_WITHIN_S
        key = {"Idempotency-Key": f"soak-{number}"}
        while True:
            try:
                async with session.post(
                    f"{self._platform.url}/v1/tasks", json=body_of(number)[0], headers=key
                ) as answer:
                    if answer.status == 202:
                        task_id: str = (await answer.json())["id"]
                        return task_id
                    problem = f"HTTP {answer.status}: {await answer.text()}"
                    if answer.status < 500:
                        raise AssertionError(problem)
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = repr(error)
            if time.monotonic() > until:
                raise AssertionError(f"task {number} was not accepted in {SUBMIT_WITHIN_S:g} s: {problem}")
            await asyncio.sleep(0.2)

    async def _follow(self, session: aiohttp.ClientSession, submitters: list[asyncio.Task[None]]) -> None:
        until = time.monotonic() + FINISH_WITHIN_S
        while time.monotonic() < until:
            for task_id in [known for known in self._ids.values() if known not in self._states]:
                task = await self._read(session, task_id)
                if task and task["state"] in FINAL:
                    self._states[task_id] = task["state"]
            if all(one.done() for one in submitters) and len(self._states) == self._tasks:
                return
            await asyncio.sleep(1.0)

    async def _read(self, session: aiohttp.ClientSession, task_id: str) -> dict[str, Any] | None:
        try:
            async with session.get(f"{self._platform.url}/v1/tasks/{task_id}") as answer:
                task: dict[str, Any] | None = await answer.json() if answer.status == 200 else None
                return task
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            return None

    async def is_over(self, within_s: float) -> bool:
        """Whether everything has ended; waits that long for it."""
        try:
            async with asyncio.timeout(within_s):
                await self.over.wait()
        except TimeoutError:
            return False
        return True

    async def problems(self) -> list[str]:
        """Every task in the state it must be in, its result committed once, nothing left."""
        wrong: list[str] = []
        async with self._session() as session:
            for number, task_id in sorted(self._ids.items()):
                task = await self._read(session, task_id)
                state = task["state"] if task else "unreadable"
                ended = [attempt["outcome"] for attempt in task["attempts"]] if task else []
                if state != body_of(number)[1] or ended.count(state) != 1:
                    wrong.append(f"task {number} ({task_id}): {state}, attempts {ended}")
            async with session.get(f"{self._platform.url}/v1/queue") as answer:
                queue = await answer.json()
        left = {name: queue[name] for name in ("waiting", "running", "delayed", "retrying")}
        if any(left.values()):
            wrong.append(f"left in the queue: {left}")
        if len(set(self._ids.values())) != self._tasks:
            wrong.append(f"{len(set(self._ids.values()))} different tasks, {self._tasks} were submitted")
        return wrong
