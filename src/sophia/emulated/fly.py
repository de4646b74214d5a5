"""Fly.io's Machines API, emulated: the operations on machines of its published document, over HTTP.

Besides them, under ``/emulator`` and without a token, the account's statement.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sophia.emulated.cloud import QUIET, Nature, Now
from sophia.emulated.cut import CutOff
from sophia.emulated.fly_machines import RESTART_SHARE, RESUME_SHARE, FlyFleet, FlyMachine
from sophia.nouns.clock import Clock
from sophia.nouns.errors import InvalidInput
from sophia.providers.fly.client import Bucket
from sophia.providers.fly.prices import MARKUP, size_named

PREFIX = "/v1"
RATE_PER_S, BURST = 1.0, 3
LOOK_RATE_PER_S, LOOK_BURST = 5.0, 10
QUOTA = 50
DEFAULT_STOP_S = 5.0
LONGEST_STOP_S = 300.0
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m)?$")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
Work = Callable[[Request], Awaitable[Any]]


class _Refused(Exception):
    def __init__(self, status: int, words: str, code: str = "unknown") -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.code = code


class _Create(msgspec.Struct, frozen=True, kw_only=True):
    config: dict[str, Any]
    name: str = ""
    region: str = ""
    skip_launch: bool = False


class _Stop(msgspec.Struct, frozen=True, kw_only=True):
    signal: str = ""
    timeout: str = ""


class _LeaseOrder(msgspec.Struct, frozen=True, kw_only=True):
    ttl: int = 30
    description: str = ""


class _Time(Clock):
    """The cloud's time, as clocks are asked."""

    def __init__(self, now: Now) -> None:
        self._now = now

    def now_ms(self) -> int:
        return int(self._now() * 1000)

    def monotonic_s(self) -> float:
        return self._now()


class EmulatedFly:
    """One account. ``app`` is the ASGI application; ``fleet`` are its machines, in the apps named ``apps``."""

    def __init__(
        self,
        now: Now,
        nature: Nature = QUIET,
        *,
        apps: Collection[str],
        token: str = "emulated",  # noqa: S107 - guards nothing
        quota: int = QUOTA,
    ) -> None:
        self.fleet = FlyFleet(nature, now)
        self.apps = frozenset(apps)
        self.token = token
        self.quota = quota
        self._time = _Time(now)
        self._buckets: dict[tuple[str, str], Bucket] = {}
        one = "/apps/{app}/machines/{id}"
        routes: tuple[tuple[str, str, str, Work], ...] = (
            ("GET", "/apps/{app}/machines", "list", self._list),
            ("POST", "/apps/{app}/machines", "create", self._create),
            ("GET", one, "get", self._get),
            ("POST", one, "update", self._update),
            ("DELETE", one, "destroy", self._destroy),
            ("POST", one + "/start", "start", self._start),
            ("POST", one + "/stop", "stop", self._stop),
            ("POST", one + "/suspend", "suspend", self._suspend),
            ("GET", one + "/lease", "show lease", self._show_lease),
            ("POST", one + "/lease", "lease", self._lease),
            ("DELETE", one + "/lease", "release", self._release),
            ("GET", one + "/metadata", "metadata", self._metadata),
        )
        self.app = Starlette(
            routes=[
                *(Route(PREFIX + path, self._guarded(name, work), methods=[verb]) for verb, path, name, work in routes),
                Route("/emulator/statement", self._statement, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
            ]
        )

    def _guarded(self, action: str, work: Work) -> Work:
        async def endpoint(request: Request) -> Response:
            fleet, nature = self.fleet, self.fleet.nature
            try:
                self._admit(action, request)
                fleet.advance()
                # A lease is a thing created.
                answer: Response = JSONResponse(await work(request), 201 if action == "lease" else 200)
            except _Refused as refused:
                answer = JSONResponse({"error": refused.words, "status": refused.code}, refused.status)
                if refused.status == 429:
                    answer.headers["Retry-After"] = "1"
            return CutOff() if fleet.chances.happens(nature.reply_lost, "reply lost") else answer

        return endpoint

    def _admit(self, action: str, request: Request) -> None:
        fleet, nature = self.fleet, self.fleet.nature
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise _Refused(401, "unauthorized")
        if request.path_params["app"] not in self.apps:
            raise _Refused(404, "app not found")
        key = action, request.path_params.get("id", request.path_params["app"])
        if (nature.rate_limits and not self._may(*key)) or fleet.chances.happens(nature.throttled, "throttled"):
            raise _Refused(429, "rate limit exceeded")
        if fleet.chances.happens(nature.fails, "fails"):
            raise _Refused(500, "internal error")

    def _may(self, action: str, key: str) -> bool:
        looking = action in ("list", "get")
        rate, burst = (LOOK_RATE_PER_S, LOOK_BURST) if looking else (RATE_PER_S, BURST)
        bucket = self._buckets.setdefault((action, key), Bucket(rate, burst, self._time))
        if bucket.wait_s() > 0:
            return False
        bucket.take()
        return True

    def _found(self, request: Request) -> FlyMachine:
        machine = self.fleet.machines.get(request.path_params["id"])
        if machine is None or machine.app != request.path_params["app"] or machine.state == "destroyed":
            raise _Refused(404, "machine not found")
        return machine

    def _mine(self, request: Request) -> FlyMachine:
        """To be changed: nobody else may hold its lease."""
        machine = self._found(request)
        leased = machine.lease and self.fleet.now() < machine.lease_until_s
        if leased and request.headers.get("fly-machine-lease-nonce") != machine.lease:
            raise _Refused(409, "machine is leased by somebody else")
        return machine

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        wanted = request.query_params.get("region")
        found = self.fleet.of(request.path_params["app"])
        return [self._shown(machine) for machine in found if not wanted or machine.region == wanted]

    async def _get(self, request: Request) -> dict[str, Any]:
        return self._shown(self._found(request))

    async def _create(self, request: Request) -> dict[str, Any]:
        order = await _body(request, _Create)
        fleet, app = self.fleet, request.path_params["app"]
        region = order.region or "iad"
        name = order.name or f"machine-{len(fleet.machines)}"
        _check(order.config, region)
        if any(machine.name == name for machine in fleet.of(app)):
            raise _Refused(409, f"already exists: unique machine name violation, machine with name {name} exists")
        if sum(len(fleet.of(each)) for each in self.apps) >= self.quota:
            raise _Refused(403, "Your organization has reached its machine limit")
        if not fleet.has_capacity(region):
            raise _Refused(422, f"insufficient resources available in region {region}", "insufficient_capacity")
        machine = fleet.create(app, name, region, order.config)
        if not order.skip_launch:
            fleet.start(machine)
        return self._shown(machine)

    async def _update(self, request: Request) -> dict[str, Any]:
        machine = self._mine(request)
        order = await _body(request, _Create)
        _check(order.config, machine.region)
        if machine.state not in ("created", "stopped", "suspended", "failed"):
            # Real machines are replaced while they run; nobody here asks for that.
            raise _Refused(412, f"failed_precondition: machine is {machine.state}")
        if not order.skip_launch and not self.fleet.has_capacity(machine.region):
            raise _Refused(422, "could not reserve resource for machine", "insufficient_capacity")
        machine.config = order.config
        machine.version += 1
        if not order.skip_launch:
            self.fleet.start(machine, RESTART_SHARE)
        return self._shown(machine)

    async def _destroy(self, request: Request) -> dict[str, bool]:
        machine = self._mine(request)
        force = request.query_params.get("force") == "true"
        if machine.state not in ("created", "stopped", "suspended", "failed") and not force:
            raise _Refused(412, f"failed_precondition: machine is {machine.state}, use force")
        if machine.state != "destroying":
            now_s = self.fleet.now()
            machine.enter("destroying", now_s, now_s + self.fleet.nature.stop_s)
        return {"ok": True}

    async def _start(self, request: Request) -> dict[str, str]:
        machine = self._mine(request)
        before = machine.state
        if before in ("created", "stopped", "suspended"):
            if not self.fleet.has_capacity(machine.region):
                raise _Refused(422, "could not reserve resource for machine", "insufficient_capacity")
            self.fleet.start(machine, RESUME_SHARE if before == "suspended" else RESTART_SHARE)
        elif before not in ("starting", "started"):
            raise _Refused(412, f"failed_precondition: unable to start machine from current state: '{before}'")
        return {"previous_state": before}

    async def _stop(self, request: Request) -> dict[str, bool]:
        machine = self._mine(request)
        order = await _body(request, _Stop)
        if machine.state in ("started", "stopping"):
            stop_config = machine.config.get("stop_config", {})
            signal = order.signal or stop_config.get("signal", "SIGINT")
            timeout = order.timeout or stop_config.get("timeout", f"{DEFAULT_STOP_S}s")
            self.fleet.stop(machine, signal, min(_seconds(timeout), LONGEST_STOP_S))
        elif machine.state not in ("stopped", "suspended"):
            raise _Refused(412, f"failed_precondition: unable to stop machine from current state: '{machine.state}'")
        return {"ok": True}

    async def _suspend(self, request: Request) -> dict[str, bool]:
        machine = self._mine(request)
        if machine.state != "started":
            raise _Refused(412, f"failed_precondition: unable to suspend machine from state '{machine.state}'")
        now_s = self.fleet.now()
        machine.enter("suspending", now_s, now_s + self.fleet.nature.stop_s)
        return {"ok": True}

    async def _show_lease(self, request: Request) -> dict[str, Any]:
        machine = self._found(request)
        if not machine.lease or self.fleet.now() >= machine.lease_until_s:
            raise _Refused(404, "lease not found")
        return self._leased(machine, nonce=False)

    async def _lease(self, request: Request) -> dict[str, Any]:
        machine = self._mine(request)
        order = await _body(request, _LeaseOrder)
        machine.lease = secrets.token_hex(8)
        machine.lease_until_s = self.fleet.now() + order.ttl
        return self._leased(machine, nonce=True)

    async def _release(self, request: Request) -> dict[str, bool]:
        self._mine(request).lease = ""
        return {"ok": True}

    async def _metadata(self, request: Request) -> dict[str, str]:
        return self._found(request).metadata

    async def _statement(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self.fleet.statement()), media_type="application/json")

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def _leased(self, machine: FlyMachine, *, nonce: bool) -> dict[str, Any]:
        shown = {
            "owner": "emulated@example.com",
            "expires_at": int(machine.lease_until_s),
            "version": str(machine.version),
            "description": "",
        }
        return {**shown, "nonce": machine.lease} if nonce else shown

    def _shown(self, machine: FlyMachine) -> dict[str, Any]:
        image = str(machine.config.get("image", ""))
        repository, _, tag = image.partition(":")
        registry, _, path = repository.partition("/")
        return {
            "id": machine.id,
            "name": machine.name,
            "state": machine.state,
            "region": machine.region,
            "instance_id": f"{machine.id}-{machine.version}".upper(),
            "private_ip": f"fdaa:0:1:a7b::{int(machine.id[:4], 16):x}",
            "config": machine.config,
            "image_ref": {"registry": registry, "repository": path, "tag": tag or "latest"},
            "created_at": _stamp(machine.created_s),
            "updated_at": _stamp(machine.updated_s),
            "host_status": "ok",
            "events": list(reversed(machine.events)),
            "checks": [],
        }


def _check(config: dict[str, Any], region: str) -> None:
    guest = config.get("guest", {})
    if not config.get("image"):
        raise _Refused(400, "config.image is required")
    if region not in MARKUP:
        raise _Refused(400, f"region {region} not found")
    name = f"{'shared-cpu' if guest.get('cpu_kind') == 'shared' else guest.get('cpu_kind')}-{guest.get('cpus')}x"
    try:
        size_named(f"{name}-{guest.get('memory_mb')}")
    except InvalidInput as error:
        raise _Refused(422, f"invalid config.guest: {error.message}") from error


async def _body(request: Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise _Refused(400, f"invalid request: {error}") from error


def _seconds(duration: str) -> float:
    match = _DURATION.match(duration)
    if match is None:
        raise _Refused(400, f"invalid duration {duration!r}")
    return float(match[1]) * _UNIT_S[match[2]]


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
