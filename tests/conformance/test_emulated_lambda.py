"""The emulated Lambda cloud keeps to the published document: every answer is held against its schema."""

from __future__ import annotations

from typing import Any

import aiohttp
import jsonschema
import msgspec
import pytest
import pytest_asyncio

from sophia.emulated.cloud import Nature
from sophia.nouns.errors import Unavailable
from sophia.providers.lambda_cloud import AiohttpTransport
from tests.support.clouds import KEY, contract, emulated_lambda
from tests.support.waiting import eventually

NATURE = Nature(boot_s=(0.1, 0.1), stop_s=0.1, listed_after_end_s=60, rate_limits=False)
ORDER = {
    "region_name": "us-west-1",
    "instance_type_name": "gpu_1x_a10",
    "ssh_key_names": ["emulated"],
    "name": "embedding-1",
    "tags": [{"key": "sophia-owner", "value": "tests"}],
}


@pytest.fixture(scope="module")
def document():
    return contract("lambda-cloud.openapi.json")


class Caller:
    def __init__(self, document: Any, url: str) -> None:
        self.document = document
        self.url = url
        self.key = KEY

    async def call(self, method: str, path: str, body: Any = None, template: str | None = None) -> tuple[int, Any]:
        """Status and answer; the answer must be one that the document allows for that status."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as answer,
        ):
            content = await answer.json()
            operation = self.document["paths"]["/api/v1" + (template or path)][method.lower()]
            schema = operation["responses"][str(answer.status)]["content"]["application/json"]["schema"]
            jsonschema.Draft202012Validator(schema | {"components": self.document["components"]}).validate(content)
            if body is not None and answer.status == 200:
                asked = operation["requestBody"]["content"]["application/json"]["schema"]
                jsonschema.Draft202012Validator(asked | {"components": self.document["components"]}).validate(body)
            return answer.status, content


@pytest_asyncio.fixture
async def account(document):
    async with emulated_lambda(NATURE, quota=2) as (cloud, url):
        yield cloud, Caller(document, url)


async def test_types_regions_and_keys(account):
    _, caller = account
    status, answer = await caller.call("GET", "/instance-types")
    assert status == 200
    assert answer["data"]["gpu_1x_h100_pcie"]["instance_type"]["price_cents_per_hour"] == 329
    assert (await caller.call("GET", "/regions"))[0] == 200
    assert (await caller.call("GET", "/ssh-keys"))[0] == 200


async def test_the_life_of_an_instance(account):
    cloud, caller = account
    status, answer = await caller.call("POST", "/instance-operations/launch", ORDER)
    assert status == 200
    (instance_id,) = answer["data"]["instance_ids"]

    async def seen() -> Any:
        _, answer = await caller.call("GET", "/instances")
        (instance,) = answer["data"]
        return instance

    first = await seen()
    assert (first["id"], first["name"], first["tags"]) == (instance_id, "embedding-1", ORDER["tags"])
    assert first["status"] == "booting"
    assert "ip" not in first

    async def status_is(wanted: str) -> bool:
        instance = await seen()
        return bool(instance["status"] == wanted)

    await eventually(lambda: status_is("active"))
    assert (await caller.call("GET", f"/instances/{instance_id}", template="/instances/{id}"))[0] == 200
    status, answer = await caller.call("POST", "/instance-operations/terminate", {"instance_ids": [instance_id]})
    assert answer["data"]["terminated_instances"][0]["status"] == "terminating"
    await eventually(lambda: status_is("terminated"))
    (line,) = cloud.fleet.statement().lines
    assert (line.minutes, line.usd) == (1, round(129 / 60 / 100, 6))


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"instance_type_name": "gpu_9x"}, 404, "global/object-does-not-exist"),
        ({"ssh_key_names": []}, 400, "global/invalid-parameters"),
        ({"ssh_key_names": ["other"]}, 404, "global/object-does-not-exist"),
        ({"tags": [{"key": "Not:a key", "value": ""}]}, 400, "global/invalid-parameters"),
        ({"name": "x" * 65}, 400, "global/invalid-parameters"),
    ],
)
async def test_launches_that_are_refused(account, change, status, code):
    _, caller = account
    given, answer = await caller.call("POST", "/instance-operations/launch", ORDER | change)
    assert (given, answer["error"]["code"]) == (status, code)


async def test_quota_capacity_key_and_account(account):
    cloud, caller = account
    for _ in range(2):
        assert (await caller.call("POST", "/instance-operations/launch", ORDER))[0] == 200
    _, answer = await caller.call("POST", "/instance-operations/launch", ORDER)
    assert answer["error"]["code"] == "global/quota-exceeded"
    status, _ = await caller.call("POST", "/instance-operations/terminate", {"instance_ids": ["none"]})
    assert status == 404
    cloud.active = False
    assert (await caller.call("GET", "/instances"))[0] == 403
    caller.key = "other"
    assert (await caller.call("GET", "/instances"))[0] == 401


async def test_without_capacity_launches_are_refused_and_no_region_is_shown(document):
    async with emulated_lambda(Nature(outage=1.0, rate_limits=False)) as (_, url):
        caller = Caller(document, url)
        status, answer = await caller.call("POST", "/instance-operations/launch", ORDER)
        assert (status, answer["error"]["code"]) == (400, "instance-operations/launch/insufficient-capacity")
        _, answer = await caller.call("GET", "/instance-types")
        assert all(item["regions_with_capacity_available"] == [] for item in answer["data"].values())


async def test_a_lost_reply_leaves_a_machine_behind_and_no_answer():
    async with emulated_lambda(Nature(reply_lost=1.0, rate_limits=False)) as (cloud, url):
        transport = AiohttpTransport(url, KEY, 5.0)
        with pytest.raises(Unavailable):
            await transport.send("POST", "/instance-operations/launch", msgspec.json.encode(ORDER))
        await transport.close()
        assert len(cloud.fleet.machines) == 1


async def test_the_account_is_limited_to_a_request_a_second():
    async with emulated_lambda(Nature()) as (_, url):
        transport = AiohttpTransport(url, KEY, 5.0)
        statuses = [(await transport.send("GET", "/instances", None)).status for _ in range(2)]
        await transport.close()
        assert statuses == [200, 429]
