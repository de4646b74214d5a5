"""What must hold between the settings: names that refer to something, orders of numbers, secrets kept out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sophia.nouns.pool import PoolSpec, Window
from sophia.nouns.task import TaskType
from sophia.settings.document import KeyPath
from sophia.settings.model import RouteRule, Settings
from sophia.settings.schedules import schedule_faults, time_zone_faults
from sophia.settings.shape import Fault, nearest

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SECRET_HEADER = re.compile(r"authorization|api-key|apikey|virtual-key|token|secret", re.IGNORECASE)
_USER_INFO = re.compile(r"^[a-z+]+://[^/@]*@", re.IGNORECASE)


def broken_rules(settings: Settings) -> Iterator[Fault]:
    yield from _queue(settings)
    yield from _routes(settings)
    yield from _providers(settings)
    yield from _models(settings)
    yield from _tasks(settings)
    for name, pool in settings.pools.items():
        yield from _pool(settings, name, pool)
    yield from _served_streams(settings)
    yield from _fly(settings)
    yield from schedule_faults(settings)


def _unknown(path: KeyPath, what: str, name: str, known: Iterable[str]) -> Iterator[Fault]:
    known = list(known)
    if name not in known:
        yield Fault(path=path, what=f"names the {what} {name!r}, which is not defined", mend=nearest(name, known))


def _ordered(path: KeyPath, low_name: str, low: float, high_name: str, high: float) -> Iterator[Fault]:
    if low > high:
        yield Fault(path=path, what=f"has {low_name} {low:g} above {high_name} {high:g}")


def _queue(settings: Settings) -> Iterator[Fault]:
    queue = settings.queue
    if len(set(queue.streams)) != len(queue.streams):
        yield Fault(path=("queue", "streams"), what="lists a stream twice")
    if queue.heartbeat_s >= queue.lease_s / 2:
        yield Fault(
            path=("queue", "heartbeat_s"),
            what=f"is {queue.heartbeat_s:g}, but queue.lease_s is {queue.lease_s:g}",
            mend="less than half of the lease, so that one lost heartbeat loses no lease",
        )
    yield from _ordered(("queue", "retry"), "base_s", queue.retry.base_s, "max_s", queue.retry.max_s)
    if settings.websocket.pong_timeout_s > settings.websocket.ping_interval_s:
        yield Fault(path=("websocket", "pong_timeout_s"), what="is longer than websocket.ping_interval_s")


def _routes(settings: Settings) -> Iterator[Fault]:
    types = [str(t) for t in TaskType]
    for index, rule in enumerate(settings.routes):
        yield from _unknown(("routes", index, "stream"), "stream", rule.stream, settings.queue.streams)
        for number, name in enumerate(rule.types):
            yield from _unknown(("routes", index, "types", number), "task type", name, types)
        if _catches_all(rule) and index + 1 < len(settings.routes):
            yield Fault(
                path=("routes", index),
                what="has no condition, so the rows after it are never reached",
                mend="put it last",
            )
    if not settings.routes or not _catches_all(settings.routes[-1]):
        yield Fault(
            path=("routes",),
            what="must end with a row without conditions",
            mend="add, for one, {stream: light, target: cpu}",
        )


def _catches_all(rule: RouteRule) -> bool:
    return not rule.types and not rule.tiers and rule.min_tokens is None and rule.min_texts is None


def _providers(settings: Settings) -> Iterator[Fault]:
    for name, provider in settings.providers.items():
        path = ("providers", name)
        if provider.kind == "pool":
            # One that waits for its variables may outlive a pool that was taken out: the packaged one does.
            if provider.when_set:
                continue
            yield from _unknown((*path, "pool"), "pool", provider.pool or "", settings.pools)
        elif provider.base_url is None and provider.base_url_env is None:
            yield Fault(path=path, what="has neither base_url nor base_url_env")
        if provider.base_url is not None:
            if not provider.base_url.startswith(("http://", "https://")):
                yield Fault(path=(*path, "base_url"), what="must begin with http:// or https://")
            if _USER_INFO.match(provider.base_url):
                yield Fault(
                    path=(*path, "base_url"),
                    what="contains a user or password",
                    mend="use api_key: {env: NAME} instead",
                )
        for header, value in provider.headers.items():
            if isinstance(value, str) and _SECRET_HEADER.search(header):
                yield Fault(
                    path=(*path, "headers", header),
                    what="looks like a secret and must be a reference to an environment variable",
                    mend="write {env: NAME_OF_THE_VARIABLE}",
                )


def _models(settings: Settings) -> Iterator[Fault]:
    for name, model in settings.models.items():
        path = ("models", name)
        if not model.providers:
            yield Fault(path=(*path, "providers"), what="is empty", mend="name at least one provider")
        for key, deployment in model.deployments().items():
            provider = deployment.provider or key
            yield from _unknown((*path, "providers", key), "provider", provider, settings.providers)
        if model.kind == "embedding" and model.dimensions is None:
            yield Fault(path=(*path, "dimensions"), what="is missing; an embedding model needs it")


def _tasks(settings: Settings) -> Iterator[Fault]:
    types = [str(t) for t in TaskType]
    for name, defaults in settings.tasks.items():
        if name not in types:
            yield Fault(path=("tasks", name), what="is not a task type", mend=nearest(name, types))
        if defaults.model is not None:
            yield from _unknown(("tasks", name, "model"), "model", defaults.model, settings.models)
            model = settings.models.get(defaults.model)
            kind = "embedding" if name == TaskType.BATCH_EMBEDDING else "chat"
            if model is not None and model.kind != kind:
                yield Fault(path=("tasks", name, "model"), what=f"must be a model of kind {kind}, not {model.kind}")
    for name in types:
        if name not in settings.tasks:
            yield Fault(path=("tasks", name), what="is missing")


def _pool(settings: Settings, name: str, pool: PoolSpec) -> Iterator[Fault]:
    path = ("pools", name)
    yield from _ordered(path, "min", pool.min, "max", pool.max)
    if not pool.instance_types:
        yield Fault(path=(*path, "instance_types"), what="is empty", mend="name at least one instance type")
    for number, stream in enumerate(pool.streams):
        yield from _unknown((*path, "streams", number), "stream", stream, settings.queue.streams)
    for number, model in enumerate(pool.models):
        yield from _unknown((*path, "models", number), "model", model, settings.models)
    for number, window in enumerate(pool.windows):
        yield from _window((*path, "windows", number), window)


def _window(path: KeyPath, window: Window) -> Iterator[Fault]:
    yield from _ordered(path, "min", window.min, "max", window.max)
    if not window.days:
        yield Fault(path=(*path, "days"), what="is empty", mend=f"list some of {', '.join(DAYS)}")
    for number, day in enumerate(window.days):
        if day not in DAYS:
            yield Fault(path=(*path, "days", number), what="is not a day", mend=f"known: {', '.join(DAYS)}")
    yield from time_zone_faults((*path, "time_zone"), window.time_zone)


def _served_streams(settings: Settings) -> Iterator[Fault]:
    for stream in settings.queue.streams:
        pools = [pool for pool in settings.pools.values() if stream in pool.streams]
        if not any(pool.max > 0 or any(window.max > 0 for window in pool.windows) for pool in pools):
            yield Fault(
                path=("queue", "streams"),
                what=f"lists {stream!r}, which no pool that may run serves",
                mend="add it to the streams of a pool whose max is above 0",
            )


def _fly(settings: Settings) -> Iterator[Fault]:
    regions = {settings.fly.primary_region, *settings.fly.fallback_regions}
    for name, app in settings.fly_apps.items():
        path = ("fly_apps", name)
        yield from _ordered(path, "min_machines", app.min_machines, "max_machines", app.max_machines)
        for number, region in enumerate(app.regions):
            yield from _unknown((*path, "regions", number), "region", region, regions)
        if app.concurrency is not None:
            yield from _ordered((*path, "concurrency"), "soft", app.concurrency.soft, "hard", app.concurrency.hard)
        if app.always_on and app.min_machines == 0:
            yield Fault(path=(*path, "min_machines"), what="is 0 although the app is always_on")
