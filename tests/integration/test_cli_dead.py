"""Dead letters from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cli import run
from tests.support.scripted_api import ScriptedApi, problem, reply

AT = "2026-01-01T00:00:00Z"


def letter(task_id: str) -> dict[str, Any]:
    return {
        "id": task_id,
        "type": "light",
        "title": "Say hello",
        "attempts": 3,
        "finished_at": AT,
        "error": {"code": "unavailable", "message": "no \x1b[31mmodel", "retryable": True},
    }


def redriven(*ids: str, left: dict[str, str] | None = None, more: bool = False) -> dict[str, Any]:
    not_redriven = [{"id": name, "reason": reason} for name, reason in (left or {}).items()]
    return {"redriven": list(ids), "not_redriven": not_redriven, "more": more}


def test_dead_letters_are_listed_with_their_error(scripted_platform: ScriptedApi) -> None:
    page = {"tasks": [letter("t1"), letter("t2")], "more": True}
    scripted_platform.on("GET", "/v1/dead-letters", reply(page))
    result = run("dead", "-n", "2")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["t1", "what", "error", "t2", "what", "error"]
    assert "no [31mmodel (unavailable)" in result.stdout
    assert "more than 2" in result.stderr
    assert json.loads(run("dead", "--json").stdout) == page


def test_none_is_said(scripted_platform: ScriptedApi) -> None:
    scripted_platform.on("GET", "/v1/dead-letters", reply({"tasks": [], "more": False}))
    result = run("dead")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no dead letters\n")


def test_the_status_says_whether_all_went(scripted_platform: ScriptedApi) -> None:
    answers = reply(redriven("t1")), reply(redriven("t1", left={"t2": "it is running"}))
    scripted_platform.on("POST", "/v1/dead-letters/redrive", *answers)
    result = run("redrive", "t1")
    assert (result.exit_code, result.stdout) == (0, "t1  queued\n")
    result = run("redrive", "t1", "t2")
    assert result.exit_code == 1
    assert "t2  not queued: it is running" in result.stderr
    assert scripted_platform.bodies_of("POST", "/v1/dead-letters/redrive") == [{"ids": ["t1"]}, {"ids": ["t1", "t2"]}]


def test_all_goes_on_while_calls_come_back_full(scripted_platform: ScriptedApi) -> None:
    full = redriven(*(f"t{n}" for n in range(1_000)), more=True)
    scripted_platform.on("POST", "/v1/dead-letters/redrive", reply(full), reply(redriven("last", more=True)))
    result = run("redrive", "--all", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["redriven"]) == 1_001
    assert scripted_platform.bodies_of("POST", "/v1/dead-letters/redrive") == [{"all": True}] * 2


@pytest.mark.parametrize("args", [[], ["t1", "--all"]])
def test_ids_or_all(scripted_platform: ScriptedApi, args: list[str]) -> None:
    result = run("redrive", *args)
    assert result.exit_code == 2
    assert "--all" in result.stderr


def test_what_could_not_be_decoded(scripted_platform: ScriptedApi) -> None:
    entry = {"id": "1-1", "stream": "stream:light", "priority": "low", "set_aside_at": AT, "content": '["what","ever"]'}
    refusal = problem(403, "forbidden", "this is for the platform's operator")
    scripted_platform.on("GET", "/v1/poison", reply({"total": 3, "entries": [entry]}), refusal)
    result = run("dead", "--poison")
    assert "light low" in result.stdout
    assert '["what","ever"]' in result.stdout
    assert result.stderr == "3 in all\n"
    assert run("dead", "--poison").exit_code == 2
