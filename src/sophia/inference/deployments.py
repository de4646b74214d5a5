"""A model's deployments: who is asked, who stands in, and what is known of each."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from sophia.decisions.attempts import Candidate, Failure, FailureKind, asks_for_another, first_try, next_try
from sophia.decisions.breaker import Breaker, BreakerState
from sophia.inference.base import DeploymentStatus
from sophia.inference.client import Answer, Client, Late, Limits, Saturated, ServerDown
from sophia.inference.metrics import InferenceMetrics
from sophia.inference.refusals import refusal_in_stream, retry_after_s
from sophia.nouns.errors import SophiaError, Unavailable, UpstreamError
from sophia.settings.deployments import BreakerSettings, DeploymentSettings, FallbackSettings

_log = logging.getLogger(__name__)

REST_MAX_S = 60.0
"""A longer Retry-After is not believed for longer."""


class Deployment:
    """A model at one provider, and how it has done lately."""

    def __init__(
        self,
        model_id: str,
        name: str,
        settings: DeploymentSettings,
        limits: Limits,
        breaker: BreakerSettings,
        client: Callable[[], Client],
        metrics: InferenceMetrics,
    ) -> None:
        self.name = name
        self.provider = settings.provider or name
        self.model = settings.model
        self.order = settings.order or 0
        self.weight = settings.weight
        self.breaker = Breaker(breaker)
        self.rest_until_s = 0.0
        self.in_flight = 0
        self._limits = limits
        self._client = client
        self._count = metrics.of_deployment(model_id, name)
        self._shown_open = False

    def candidate(self, now_s: float, tries: int) -> Candidate:
        return Candidate(
            order=self.order,
            weight=self.weight,
            usable=self.breaker.admits(now_s),
            resting=now_s < self.rest_until_s,
            tries=tries,
        )

    def status(self, now_s: float) -> DeploymentStatus:
        return DeploymentStatus(
            name=self.name,
            provider=self.provider,
            upstream_model=self.model,
            order=self.order,
            weight=self.weight,
            state=str(self.breaker.state(now_s)),
            resting=now_s < self.rest_until_s,
            in_flight=self.in_flight,
        )

    async def ask(self, path: str, body: Mapping[str, Any], left_s: float) -> Answer:
        """The answer, once its first byte (of a stream) or all of it is there."""
        call = _Call(self)
        try:
            answer = await self._client().forward(path, {**body, "model": self.model}, self._limits, left_s)
        except BaseException as error:
            # Single servers have breakers of their own.
            own = isinstance(error, Saturated | ServerDown)
            call.failed = isinstance(error, Unavailable | UpstreamError) and not own
            call.over(False)
            raise
        answer.on_end = call.over
        try:
            first = await answer.begin()
            if b'"error"' in first[:64] and answer.status == 200:
                _raise_error(self.provider, first)
        except BaseException as error:
            call.failed = isinstance(error, Unavailable | UpstreamError)
            await answer.close()
            raise
        call.judge(answer)
        return answer

    def note(self, failed: bool, mark: int) -> None:
        now_s = time.monotonic()
        if failed:
            self.breaker.failed(mark, now_s)
        else:
            self.breaker.succeeded(mark, now_s)
        if failed or self._shown_open:
            self._show(now_s)

    def count(self, outcome: str) -> None:
        self._count[outcome].inc()

    def _show(self, now_s: float) -> None:
        is_open = self.breaker.state(now_s) is not BreakerState.CLOSED
        if is_open != self._shown_open:
            self._shown_open = is_open
            self._count.open.set(int(is_open))
            _log.warning("deployment %s (%s) %s", self.name, self.model, "is left alone" if is_open else "is back")


class _Call:
    """One call's place in its deployment's accounts."""

    __slots__ = ("_deployment", "_judged", "_mark", "failed")

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._mark = deployment.breaker.enter(time.monotonic())
        self._judged = False
        self.failed = False
        deployment.in_flight += 1

    def judge(self, answer: Answer) -> None:
        self._judged = True
        self._deployment.note(answer.status >= 500 and answer.status != 501, self._mark)

    def over(self, broken: bool) -> None:
        self._deployment.in_flight -= 1
        if broken and self._judged:
            self._deployment.count("broken")
        if broken or self.failed:
            self._judged = True
            self._deployment.note(True, self._mark)
        elif not self._judged:
            self._deployment.breaker.left(self._mark)


class ModelCalls:
    """Calls of one model over its deployments.

    ``send`` gives the first answer that need not be asked for again, else the last one there was. Raises ``Unavailable``
    (with the time after which a breaker lets a call through) when nobody can be asked, else what the last attempt
    raised.
    """

    def __init__(self, model_id: str, deployments: Sequence[Deployment], settings: FallbackSettings) -> None:
        self.model_id = model_id
        self._deployments = deployments
        self._settings = settings
        self._chance = random.Random()  # noqa: S311 - spreads load and waits

    def statuses(self) -> Sequence[DeploymentStatus]:
        now_s = time.monotonic()
        return [deployment.status(now_s) for deployment in self._deployments]

    async def send(self, path: str, body: Mapping[str, Any]) -> Answer:
        now_s = time.monotonic()
        until_s = now_s + self._settings.deadline_s
        number = self._first(now_s)
        tries = [0] * len(self._deployments)
        while True:
            deployment = self._deployments[number]
            tries[number] += 1
            answer: Answer | None = None
            error: SophiaError | None = None
            try:
                answer = await deployment.ask(path, body, until_s - now_s)
                failure = self._failure_of(answer)
            except (Unavailable, UpstreamError) as raised:
                error = raised
                failure = _failure_by(raised)
            if failure is None and answer is not None:
                deployment.count("ok")
                return _marked(answer, deployment, tries)
            now_s = time.monotonic()
            if failure is not None:
                deployment.count(failure.kind.value)
                step = self._next(number, failure, tries, until_s, now_s)
                if step is not None:
                    if answer is not None:
                        await answer.close()
                    if step.wait_s:
                        await asyncio.sleep(step.wait_s)
                        now_s = time.monotonic()
                    number = step.number
                    continue
            if answer is not None:
                return _marked(answer, deployment, tries)
            raise error or Unavailable(f"nobody answers for {self.model_id}")

    def _first(self, now_s: float) -> int:
        if len(self._deployments) == 1 and self._deployments[0].breaker.admits(now_s):
            return 0
        number = first_try([d.candidate(now_s, 0) for d in self._deployments], self._chance.random())
        if number is None:
            raise Unavailable(
                f"everybody who serves {self.model_id} has failed lately",
                retry_after_s=min(d.breaker.opens_in_s(now_s) for d in self._deployments),
            )
        return number

    def _failure_of(self, answer: Answer) -> Failure | None:
        if not asks_for_another(answer.status, self._settings):
            return None
        return Failure(kind=FailureKind.REFUSED, retry_after_s=retry_after_s(answer.headers.get("retry-after")))

    def _next(self, number: int, failure: Failure, tries: Sequence[int], until_s: float, now_s: float) -> Any:
        if failure.retry_after_s is not None and failure.kind is FailureKind.REFUSED:
            self._deployments[number].rest_until_s = now_s + min(failure.retry_after_s, REST_MAX_S)
        candidates = [d.candidate(now_s, n) for d, n in zip(self._deployments, tries, strict=True)]
        return next_try(
            candidates,
            number,
            failure,
            settings=self._settings,
            left_s=until_s - now_s,
            chance=self._chance.random(),
        )


def _failure_by(error: SophiaError) -> Failure:
    # What is not to be mended by asking the same again is like being late.
    late = isinstance(error, Late | Saturated | UpstreamError)
    return Failure(kind=FailureKind.LATE if late else FailureKind.UNREACHABLE, retry_after_s=error.retry_after_s)


def _marked(answer: Answer, deployment: Deployment, tries: Sequence[int]) -> Answer:
    answer.mark({"x-sophia-provider": deployment.name, "x-sophia-attempts": str(sum(tries))})
    return answer


def _raise_error(provider: str, first: bytes) -> None:
    """Some providers answer 200 and then stream the error."""
    data = first.partition(b"data:")[2].partition(b"\n")[0]
    try:
        event = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return
    if isinstance(event, dict) and event.get("error"):
        raise refusal_in_stream(provider, event["error"])
