"""The page in a real browser over the whole platform."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from playwright.async_api import Page, WebSocketRoute, expect

from tests.support.platform import Platform

RUN_MS = 240_000
"""For a task of the small model on a busy machine."""


async def submit(platform: Platform, kind: str, payload: dict[str, Any], **more: Any) -> str:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {platform.api_key}"}) as session,
        session.post(f"{platform.url}/v1/tasks", json={"type": kind, "payload": payload, **more}) as answer,
    ):
        assert answer.status == 202, await answer.text()
        task_id: str = (await answer.json())["id"]
        return task_id


async def result_of(platform: Platform, task_id: str) -> Any:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {platform.api_key}"}) as session,
        session.get(f"{platform.url}/v1/tasks/{task_id}") as answer,
    ):
        return (await answer.json())["result"]


async def fill_in_form(page: Page, prompt: str, max_tokens: int) -> str:
    """Submit a light task by the form; gives its id."""
    await page.get_by_role("link", name="New task").click()
    await page.get_by_role("group", name="Type").get_by_text("Light").click()
    await page.get_by_role("textbox", name="Prompt", exact=True).fill(prompt)
    await page.get_by_role("button", name="Budget and more options").click()
    await page.get_by_label("Longest answer, tokens").fill(str(max_tokens))
    await page.get_by_role("button", name="Submit").click()
    await page.wait_for_url("**/tasks/*")
    return page.url.rpartition("/")[2]


async def test_the_link_opens_the_page_and_the_key_leaves_the_address(opened: Page, running_platform: Platform) -> None:
    assert opened.url == f"{running_platform.url}/"
    await opened.reload()
    await expect(opened.locator('[data-live="live"]')).to_be_visible()


async def test_a_task_submitted_in_the_form_succeeds_on_screen(opened: Page, running_platform: Platform) -> None:
    task_id = await fill_in_form(opened, "Say hello in five words.", 16)
    await expect(opened.get_by_test_id("task-state")).to_have_text("succeeded", timeout=RUN_MS)
    await expect(opened.get_by_role("region", name="Result")).to_contain_text("Written by")
    await expect(opened.locator('[data-attempt="1"]')).to_contain_text("cpu-workers")
    await opened.get_by_role("link", name="All tasks").click()
    await expect(opened.locator(f'[data-task="{task_id}"]')).to_contain_text("succeeded")


async def test_a_reload_in_between_loses_nothing(opened: Page, running_platform: Platform) -> None:
    task_id = await fill_in_form(opened, "Write a long story about a lighthouse and the sea.", 200)
    output = opened.get_by_role("log")
    await expect(output).not_to_be_empty(timeout=RUN_MS)
    before = await output.inner_text()
    await opened.reload()
    await expect(output).to_contain_text(before)
    await expect(opened.get_by_test_id("task-state")).to_have_text("succeeded", timeout=RUN_MS)
    result = await result_of(running_platform, task_id)
    await expect(output).to_have_text(result["text"])


async def test_tasks_queue_and_pools_change_without_a_reload(opened: Page, running_platform: Platform) -> None:
    await opened.evaluate("document.body.dataset.first = 'yes'")
    task_id = await submit(running_platform, "batch_embedding", {"texts": [f"text {n}" for n in range(400)]})
    row = opened.locator(f'[data-task="{task_id}"]')
    await expect(row).to_contain_text("400 texts")
    # It starts at zero instances, so that the task waits until one has been started for it.
    pool = opened.get_by_role("article", name="Pool embedding")
    await expect(pool.locator("[data-instance]:not([data-state='terminated'])")).to_be_visible()
    await expect(row).to_have_attribute("data-state", "succeeded", timeout=RUN_MS)
    await expect(pool.locator("[data-instance]").first).to_have_attribute("data-state", "terminated", timeout=90_000)
    assert await opened.evaluate("document.body.dataset.first") == "yes"


async def test_a_lost_connection_comes_back_where_it_was(page: Page, running_platform: Platform) -> None:
    wires: list[WebSocketRoute] = []
    sent: list[dict[str, Any]] = []

    def connect(wire: WebSocketRoute) -> None:
        server = wire.connect_to_server()
        wires.append(wire)

        def to_server(message: str | bytes) -> None:
            sent.append(json.loads(message))
            server.send(message)

        wire.on_message(to_server)

    await page.route_web_socket(re.compile("/ws$"), connect)
    await page.goto(f"{running_platform.url}/#key={running_platform.api_key}")
    live = page.locator('[data-live="live"]')
    await live.wait_for()
    await wires[0].close()
    await expect(live).not_to_be_visible()
    task_id = await submit(running_platform, "light", {"prompt": "Say yes.", "max_tokens": 4})
    await live.wait_for()
    await expect(page.locator(f'[data-task="{task_id}"]')).to_be_visible()
    subscriptions = [message for message in sent if message.get("op") == "subscribe"]
    assert subscriptions[0]["after"] is None
    assert subscriptions[1]["after"] is not None


async def test_a_refused_field_is_shown_at_its_input(opened: Page) -> None:
    await opened.get_by_role("link", name="New task").click()
    await opened.get_by_role("group", name="Type").get_by_text("Research").click()
    await opened.get_by_role("textbox", name="Question").fill("Why?")
    await opened.get_by_role("textbox", name="Pages to read").fill("not an address")
    await opened.get_by_role("button", name="Submit").click()
    await expect(opened.get_by_role("textbox", name="Pages to read")).to_have_attribute("aria-invalid", "true")
    assert opened.url.endswith("/new")


async def test_a_wrong_key_asks_again(page: Page, running_platform: Platform) -> None:
    await page.goto(f"{running_platform.url}/#key=wrong")
    dialog = page.get_by_role("dialog", name="API key")
    await expect(dialog).to_contain_text("does not know the key")
    await dialog.get_by_label("Key", exact=True).fill("wrong-again")
    await dialog.get_by_role("button", name="Open").click()
    await expect(dialog).to_contain_text("does not know this key")
    await dialog.get_by_label("Key", exact=True).fill(running_platform.api_key)
    await dialog.get_by_role("button", name="Open").click()
    await expect(dialog).not_to_be_visible()
    await expect(page.locator('[data-live="live"]')).to_be_visible()


async def test_every_page_is_accessible_in_light_and_dark(opened: Page, running_platform: Platform, axe: str) -> None:
    task_id = await submit(running_platform, "light", {"prompt": "Say no.", "max_tokens": 4})
    await expect(opened.locator(f'[data-task="{task_id}"]')).to_be_visible()
    for path, ready in (("/", "table"), (f"/tasks/{task_id}", "dl"), ("/pools", "h1"), ("/new", "form")):
        await opened.goto(running_platform.url + path)
        await opened.locator(ready).first.wait_for()
        for scheme in ("light", "dark"):
            await opened.emulate_media(color_scheme="light" if scheme == "light" else "dark")
            await expect(opened.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
            await opened.evaluate(axe)
            found = await opened.evaluate("axe.run(document, {resultTypes: ['violations']})")
            faults = [
                (fault["id"], node["html"][:160], node["any"][0]["message"] if node["any"] else "")
                for fault in found["violations"]
                for node in fault["nodes"]
            ]
            assert faults == [], f"{path} in {scheme}"


async def test_cancelling_asks_first(opened: Page, running_platform: Platform) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    task_id = await submit(running_platform, "light", {"prompt": "Say never."}, run_at=later)
    await opened.goto(f"{running_platform.url}/tasks/{task_id}")
    await expect(opened.get_by_test_id("task-state")).to_have_text("scheduled")
    await expect(opened.get_by_text("Why it waits")).to_be_visible()
    await opened.get_by_role("button", name="Cancel task").click()
    dialog = opened.get_by_role("dialog", name="Cancel this task?")
    await dialog.get_by_role("button", name="Keep it").click()
    await expect(dialog).not_to_be_visible()
    await expect(opened.get_by_test_id("task-state")).to_have_text("scheduled")
    await opened.get_by_role("button", name="Cancel task").click()
    await dialog.get_by_role("button", name="Cancel task").click()
    await expect(opened.get_by_test_id("task-state")).to_have_text("cancelled")
