"""Lambda's cloud, emulated: the operations on instances of its published API (version 1.10), over HTTP.

Besides them, under ``/emulator`` and without a key, the account's statement, which the real cloud shows on its page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sophia.emulated.cloud import QUIET, EmulatedMachine, Fleet, Nature, Now
from sophia.emulated.cut import CutOff
from sophia.emulated.limits import Spacing

PREFIX = "/api/v1"
REQUEST_EVERY_S = 1.0
LAUNCH_EVERY_S = 12.0
QUOTA = 64
"""Machines that an account may have at once."""

_MESSAGES: Mapping[str, tuple[int, str, str]] = {
    "global/invalid-api-key": (
        401,
        "API key was invalid, expired, or deleted.",
        "Check your API key or create a new one, then try again.",
    ),
    "global/account-inactive": (403, "Your account is inactive.", "Make sure you have a valid payment method."),
    "global/invalid-parameters": (400, "Invalid request data.", ""),
    "global/object-does-not-exist": (404, "Specified instance does not exist.", "Check the identifier and try again."),
    "global/not-found": (404, "The requested resource was not found.", ""),
    "global/quota-exceeded": (400, "Quota exceeded.", "Contact Support to increase your quota."),
    "global/internal-error": (500, "An internal server error occurred.", "Try again later."),
    "global/rate-limited": (429, "Too many requests.", "Wait a moment."),
    "instance-operations/launch/insufficient-capacity": (
        400,
        "Not enough capacity to fulfill launch request.",
        "Choose an instance type with more availability, or try again later.",
    ),
}
"""Of the published document; 429 is not in it, and neither is the form of a server error's answer."""
_TAG_KEY = re.compile(r"^[a-z][a-z0-9-:]+$")
_DESCRIPTIONS = {"us-west-1": "California, USA", "us-east-1": "Virginia, USA", "us-south-1": "Texas, USA"}


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    description: str
    gpu_description: str
    price_cents_per_hour: int
    vcpus: int
    memory_gib: int
    storage_gib: int
    gpus: int


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    regions: list[str]
    types: dict[str, CatalogEntry]


class _Launch(msgspec.Struct, frozen=True, kw_only=True):
    region_name: str
    instance_type_name: str
    ssh_key_names: list[str]
    name: str = ""
    tags: list[dict[str, str]] = []
    user_data: str = ""


class _Terminate(msgspec.Struct, frozen=True, kw_only=True):
    instance_ids: list[str]


class _Refused(Exception):
    """Ends a request with an error of the API."""

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


def catalog() -> Catalog:
    """Types, prices and regions as the cloud lists them (read on 2026-09-05; prices are of that day)."""
    raw = resources.files("sophia.emulated").joinpath("lambda_catalog.json").read_bytes()
    return msgspec.json.decode(raw, type=Catalog)


class EmulatedLambda:
    """One account. ``app`` is the ASGI application; ``fleet`` are its machines."""

    def __init__(self, now: Now, nature: Nature = QUIET, *, api_key: str = "emulated", quota: int = QUOTA) -> None:
        self.fleet = Fleet(nature, now)
        self.api_key = api_key
        self.quota = quota
        self.active = True
        """Whether the account is in good standing."""
        self._catalog = catalog()
        self._requests = Spacing(REQUEST_EVERY_S, now)
        self._launches = Spacing(LAUNCH_EVERY_S, now)
        routes = (
            ("GET", "/instances", self._list),
            ("GET", "/instances/{id}", self._get),
            ("GET", "/instance-types", self._types),
            ("GET", "/regions", self._regions),
            ("GET", "/ssh-keys", self._ssh_keys),
            ("POST", "/instance-operations/launch", self._launch),
            ("POST", "/instance-operations/terminate", self._terminate),
        )
        self.app = Starlette(
            routes=[
                *(Route(PREFIX + path, self._guarded(work), methods=[method]) for method, path, work in routes),
                Route("/emulator/statement", self._statement, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/{rest:path}", self._not_found, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
            ]
        )

    def _guarded(self, work: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            fleet, nature = self.fleet, self.fleet.nature
            try:
                self._admit(request)
                answer: Response = JSONResponse({"data": await work(request)})
            except _Refused as refused:
                answer = _error(refused)
            if fleet.chances.happens(nature.reply_lost, "reply lost"):
                return CutOff()
            return answer

        return endpoint

    def _admit(self, request: Request) -> None:
        fleet, nature = self.fleet, self.fleet.nature
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            raise _Refused("global/invalid-api-key")
        if not self.active:
            raise _Refused("global/account-inactive")
        limited = nature.rate_limits and not self._requests.allows()
        if not limited and request.url.path.endswith("/launch"):
            limited = nature.rate_limits and not self._launches.allows()
        if limited or fleet.chances.happens(nature.throttled, "throttled"):
            raise _Refused("global/rate-limited")
        if fleet.chances.happens(nature.fails, "fails"):
            raise _Refused("global/internal-error")

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        return [self._shown(machine) for machine in self.fleet.listed()]

    async def _get(self, request: Request) -> dict[str, Any]:
        machine = self.fleet.machines.get(request.path_params["id"])
        if machine is None:
            raise _Refused("global/object-does-not-exist")
        return self._shown(machine)

    async def _types(self, request: Request) -> dict[str, Any]:
        return {
            name: {
                "instance_type": self._type(name),
                "regions_with_capacity_available": [
                    _region(region) for region in self._catalog.regions if self.fleet.has_capacity(name, region)
                ],
            }
            for name in self._catalog.types
        }

    async def _regions(self, request: Request) -> list[dict[str, str]]:
        return [_region(region) for region in self._catalog.regions]

    async def _ssh_keys(self, request: Request) -> list[dict[str, str]]:
        return [{"id": "0" * 32, "name": "emulated", "public_key": "ssh-ed25519 AAAA emulated"}]

    async def _launch(self, request: Request) -> dict[str, list[str]]:
        order = await _body(request, _Launch)
        fleet = self.fleet
        entry = self._catalog.types.get(order.instance_type_name)
        if entry is None or order.region_name not in self._catalog.regions:
            raise _Refused("global/object-does-not-exist", "No such instance type or region.")
        tags = {tag.get("key", ""): tag.get("value", "") for tag in order.tags}
        if len(order.ssh_key_names) != 1 or len(order.name) > 64 or not all(map(_TAG_KEY.match, tags)):
            raise _Refused("global/invalid-parameters")
        if order.ssh_key_names != ["emulated"]:
            raise _Refused("global/object-does-not-exist", "No such SSH key.")
        running = [one for one in fleet.machines.values() if fleet.status(one) not in ("terminated", "preempted")]
        if len(running) >= self.quota:
            raise _Refused("global/quota-exceeded")
        dry = not fleet.has_capacity(order.instance_type_name, order.region_name)
        if dry or fleet.chances.happens(fleet.nature.no_capacity, "no capacity"):
            raise _Refused("instance-operations/launch/insufficient-capacity")
        machine = fleet.launch(
            name=order.name,
            instance_type=order.instance_type_name,
            region=order.region_name,
            tags=tags,
            cents_per_hour=entry.price_cents_per_hour,
            user_data=order.user_data,
        )
        return {"instance_ids": [machine.id]}

    async def _terminate(self, request: Request) -> dict[str, list[dict[str, Any]]]:
        order = await _body(request, _Terminate)
        if not order.instance_ids:
            raise _Refused("global/invalid-parameters")
        listed = {machine.id for machine in self.fleet.listed()}
        if not listed.issuperset(order.instance_ids):
            raise _Refused("global/object-does-not-exist")
        ended = [machine for each in order.instance_ids if (machine := self.fleet.terminate(each)) is not None]
        return {"terminated_instances": [self._shown(machine) for machine in ended]}

    async def _statement(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self.fleet.statement()), media_type="application/json")

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _not_found(self, request: Request) -> Response:
        return _error(_Refused("global/not-found"))

    def _type(self, name: str) -> dict[str, Any]:
        entry = self._catalog.types[name]
        return {
            "name": name,
            "description": entry.description,
            "gpu_description": entry.gpu_description,
            "price_cents_per_hour": entry.price_cents_per_hour,
            "specs": {
                "vcpus": entry.vcpus,
                "memory_gib": entry.memory_gib,
                "storage_gib": entry.storage_gib,
                "gpus": entry.gpus,
            },
        }

    def _shown(self, machine: EmulatedMachine) -> dict[str, Any]:
        status = self.fleet.status(machine)
        blocked = {"booting": "vm-has-not-launched", "terminating": "vm-is-terminating"}.get(status)
        usable = {"available": True} if blocked is None else {"available": False, "reason_code": blocked}
        shown: dict[str, Any] = {
            "id": machine.id,
            "name": machine.name,
            "status": status,
            "ssh_key_names": ["emulated"],
            "file_system_names": [],
            "region": _region(machine.region),
            "instance_type": self._type(machine.instance_type),
            "actions": {
                "migrate": usable,
                "rebuild": usable,
                "restart": usable,
                "cold_reboot": usable,
                "terminate": {"available": status != "terminating"},
            },
            "tags": [{"key": key, "value": value} for key, value in machine.tags.items()],
        }
        if status != "booting":
            # The address is absent until it is known.
            shown["ip"] = f"198.51.100.{int(machine.id[:2], 16) or 1}"
        return shown


async def _body(request: Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise _Refused("global/invalid-parameters", str(error)) from error


def _error(refused: _Refused) -> Response:
    status, message, suggestion = _MESSAGES[refused.code]
    error = {"code": refused.code, "message": refused.message or message}
    if suggestion:
        error["suggestion"] = suggestion
    if refused.code == "global/object-does-not-exist" and refused.message:
        status = 404
    headers = {"Retry-After": "2"} if status == 429 else None
    return JSONResponse({"error": error}, status, headers=headers)


def _region(name: str) -> dict[str, str]:
    return {"name": name, "description": _DESCRIPTIONS.get(name, name)}
