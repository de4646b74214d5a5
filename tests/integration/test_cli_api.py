"""The command line against scripted answers: what the real gateway cannot easily be made to do."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from sophia.cli.main import main
from sophia.client import follow as client_follow
from sophia.nouns.errors import Unavailable
from tests.support.cli import run
from tests.support.scripted_api import hang_up, problem, reply, stream

AT = "2026-01-31T12:00:00Z"
ROUTE = {"stream": "stream:light", "target": "cpu", "reason": "no other rule matched"}
USAGE = {
    "input_tokens": 12,
    "output_tokens": 34,
    "embedding_tokens": 0,
    "model_calls": 1,
    "run_s": 1.5,
    "cost_usd": 0.00125,
}
ACCEPTED = {"id": "t1", "state": "queued", "route": ROUTE, "duplicate": False}


def task(state: str = "succeeded", **changes: Any) -> dict[str, Any]:
    result = {"text": "Hello there", "finish_reason": "stop", "model": "m"} if state == "succeeded" else None
    return {
        "id": "t1",
        "type": "light",
        "tenant": "default",
        "state": state,
        "tier": "fast",
        "priority": "normal",
        "route": ROUTE,
        "title": "Say hello",
        "payload": {"prompt": "Say hello"},
        "budget": {},
        "submitted_at": AT,
        "updated_at": AT,
        "due_at": None,
        "deadline_at": None,
        "finished_at": None,
        "cancel_requested": False,
        "max_attempts": 3,
        "attempts": [],
        "usage": USAGE,
        "result": result,
        "error": None,
        "labels": {},
    } | changes


def event(seq: int, kind: str, **data: Any) -> dict[str, Any]:
    return {"seq": seq, "kind": kind, "topic": "tasks", "subject": "t1", "at": AT, "data": data, "cursor": str(seq)}


QUEUED = event(1, "task.queued", route={**ROUTE, "stream": "light"}, priority="normal")
RUNNING = event(2, "task.running", attempt=1, worker="w-1", pool="cpu-workers")
HELLO = event(3, "task.output", text="Hello ", offset=0, attempt=1)
THERE = event(4, "task.output", text="there", offset=6, attempt=1)
DONE = event(5, "task.succeeded", attempt=1, usage=USAGE)


@pytest.fixture
def platform(scripted_platform):
    return scripted_platform


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestSubmit:
    def test_sends_what_was_asked_for_with_the_key_that_was_found(self, platform):
        platform.on("POST", "/v1/tasks", reply(ACCEPTED, 202))
        result = run(
            *(
                "submit",
                "web-research",
                "Why?",
                "--url",
                "http://a/1",
                "--url",
                "http://a/2",
                "--search-url",
                "http://s",
            ),
            *("--tier", "quality", "-p", "high", "--max-usd", "0.5", "--timeout", "2m", "--label", "team=a"),
        )
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[0].split() == ["t1", "queued"]
        assert "stream:light on cpu: no other rule matched" in result.stdout
        assert platform.bodies_of("POST", "/v1/tasks") == [
            {
                "type": "web_research",
                "payload": {"question": "Why?", "urls": ["http://a/1", "http://a/2"], "search": {"url": "http://s"}},
                "tier": "quality",
                "priority": "high",
                "timeout_s": 120.0,
                "budget": {"max_usd": 0.5},
                "labels": {"team": "a"},
            }
        ]
        headers = platform.headers_of("POST", "/v1/tasks")[0]
        assert headers["Authorization"] == "Bearer key-1"
        assert headers["Idempotency-Key"]

    def test_a_lost_answer_is_asked_for_again_with_the_same_key(self, platform):
        platform.on("POST", "/v1/tasks", hang_up(), problem(503, "unavailable", "starting"), reply(ACCEPTED, 202))
        assert run("submit", "light", "x").exit_code == 0
        keys = {headers["Idempotency-Key"] for headers in platform.headers_of("POST", "/v1/tasks")}
        assert len(platform.requests) == 3
        assert len(keys) == 1

    @pytest.mark.parametrize(
        ("status", "code", "exit_code"),
        [
            (400, "invalid_request", 2),
            (401, "unauthorized", 2),
            (409, "conflict", 2),
            (413, "payload_too_large", 2),
            (422, "invalid_request", 2),
            (429, "rate_limited", 1),
            (500, "internal_error", 1),
            (503, "unavailable", 5),
        ],
    )
    def test_a_refusal_is_told_in_the_platforms_words(self, platform, status, code, exit_code):
        platform.on("POST", "/v1/tasks", problem(status, code, "must be short", field="payload.goal", mend="cut it"))
        result = run("submit", "long_planning", "x")
        assert result.exit_code == exit_code
        assert result.stderr.splitlines() == ["error: payload.goal: must be short", "  cut it"]
        document = json.loads(run("submit", "long_planning", "x", "--json").stdout)
        assert document == {
            "error": {"code": code, "message": "must be short", "field": "payload.goal", "mend": "cut it"}
        }

    @pytest.mark.parametrize(
        ("final", "exit_code"),
        [
            (task(), 0),
            (task("failed", error={"code": "upstream_error", "message": "no", "retryable": False}), 1),
            (task("dead", error={"code": "unavailable", "message": "no", "retryable": True}), 1),
            (task("cancelled"), 3),
            (task("failed", error={"code": "deadline_exceeded", "message": "late", "retryable": False}), 4),
            (task("dead", error={"code": "timed_out", "message": "long", "retryable": False}), 4),
        ],
    )
    @pytest.mark.parametrize("option", ["--wait", "--watch"])
    def test_the_status_says_how_the_task_ended(self, platform, final, exit_code, option):
        platform.on("POST", "/v1/tasks", reply(ACCEPTED, 202))
        platform.on("GET", "/v1/tasks/t1", reply(task("running")), reply(final))
        platform.on("GET", "/v1/tasks/t1/events", stream(QUEUED, RUNNING, event(3, f"task.{final['state']}")))
        result = run("submit", "light", "x", option, "--json")
        assert result.exit_code == exit_code
        assert json.loads(result.stdout) == final
        platform.on("GET", "/v1/tasks/t1", reply(final))
        result = run("submit", "light", "x", option)
        assert result.exit_code == exit_code
        assert final["state"] in result.stdout


class TestWatch:
    def test_shows_route_attempt_instance_text_and_cost(self, platform):
        platform.on("GET", "/v1/tasks/t1", reply(task()))
        platform.on("GET", "/v1/tasks/t1/events", stream(QUEUED, RUNNING, HELLO, THERE, DONE))
        result = run("watch", "t1")
        assert result.exit_code == 0
        out = result.stdout
        assert "stream:light on cpu: no other rule matched · priority normal" in out
        assert "attempt 1 on cpu-workers/w-1" in out
        assert out.count("Hello there") == 1
        assert "succeeded  cost $0.001250 · 12 tokens in, 34 out · ran 1.5 s" in out

    def test_a_dropped_connection_is_taken_up_after_the_last_event(self, platform):
        platform.on("GET", "/v1/tasks/t1", reply(task()))
        torn = b'id: 4\nevent: task.output\ndata: {"seq": 4, "kind"'
        platform.on(
            "GET",
            "/v1/tasks/t1/events",
            stream(QUEUED, RUNNING, HELLO, cut=True, tail=torn),
            hang_up(),
            problem(503, "unavailable", "restarting"),
            stream(HELLO, THERE, DONE),
        )
        result = run("watch", "t1")
        assert result.exit_code == 0, result.stderr
        assert result.stdout.count("Hello there") == 1
        resumed = [headers.get("Last-Event-ID") for headers in platform.headers_of("GET", "/v1/tasks/t1/events")]
        assert resumed == [None, "3", "3", "3"]

    def test_gives_up_after_bounded_tries_and_says_what_to_do(self, platform):
        platform.on("GET", "/v1/tasks/t1", reply(task("running")))
        platform.on("GET", "/v1/tasks/t1/events", stream(QUEUED, cut=True), hang_up())
        result = run("watch", "t1")
        assert result.exit_code == 5
        assert "sophia watch t1" in result.stderr
        # The HTTP client may repeat a request by itself when a connection that it kept open turns out to be dead.
        asked = len(platform.headers_of("GET", "/v1/tasks/t1/events"))
        assert client_follow.MAX_TRIES < asked <= 2 * client_follow.MAX_TRIES + 1

    def test_a_task_whose_log_is_gone_is_shown_from_its_record(self, platform):
        platform.on("GET", "/v1/tasks/t1", reply(task()))
        platform.on("GET", "/v1/tasks/t1/events", stream())
        result = run("watch", "t1")
        assert result.exit_code == 0
        assert "Hello there" in result.stdout

    def test_a_new_attempt_starts_its_text_anew(self, platform):
        platform.on("GET", "/v1/tasks/t1", reply(task()))
        retry = event(4, "task.retrying", attempt=1, error={"code": "unavailable", "message": "gone"}, retry_in_s=2)
        again = event(5, "task.running", attempt=2, worker="w-2", pool="cpu-workers")
        text = event(6, "task.output", text="Hello there", offset=0, attempt=2)
        platform.on(
            "GET", "/v1/tasks/t1/events", stream(QUEUED, RUNNING, HELLO, retry, again, text, {**DONE, "seq": 7})
        )
        out = run("watch", "t1").stdout
        assert "attempt 1: gone (unavailable); again in 2.0 s" in out
        assert "attempt 2 on cpu-workers/w-2" in out
        assert out.count("Hello there") == 1

    def test_what_a_model_says_cannot_drive_the_terminal(self, platform):
        evil = "\x1b]0;owned\x07\x1b[2Jplain\r\x9b1m"
        platform.on("GET", "/v1/tasks/t1", reply(task(title=evil, result={**task()["result"], "text": evil})))
        platform.on("GET", "/v1/tasks/t1/events", stream(event(1, "task.output", text=evil, offset=0, attempt=1), DONE))
        for args in (("watch", "t1"), ("task", "t1")):
            out = run(*args).stdout
            assert "plain" in out
            assert not set(out) & {"\x1b", "\x07", "\r", "\x9b"}

    def test_interrupting_it_leaves_the_task_alone_and_says_so(self, platform):
        platform.on("GET", "/v1/tasks/t1", reply(task("running")))
        platform.on("GET", "/v1/tasks/t1/events", stream(QUEUED, RUNNING, hold=True))
        command = [sys.executable, "-m", "sophia.cli.main", "watch", "t1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any("attempt 1 on" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "the task goes on" in errors
        assert "Traceback" not in errors

    def test_an_unknown_task_is_bad_input(self, platform):
        platform.on("GET", "/v1/tasks/t1", problem(404, "not_found", "no task t1"))
        result = run("watch", "t1")
        assert (result.exit_code, result.stderr) == (2, "error: no task t1\n")


class TestResults:
    @pytest.mark.parametrize(
        ("task_type", "answer", "expected"),
        [
            (
                "long_planning",
                {
                    "goal": "Move",
                    "model": "m",
                    "steps": [
                        {"id": 1, "title": "Pack", "description": "Boxes", "depends_on": []},
                        {"id": 2, "title": "Go", "description": "", "depends_on": [1]},
                    ],
                },
                ["1. Pack", "Boxes", "2. Go  after 1"],
            ),
            (
                "code_generation",
                {
                    "language": "python",
                    "code": "print(1)",
                    "explanation": "It prints.",
                    "syntax_checked": False,
                    "syntax_error": "line 1: no",
                    "model": "m",
                },
                ["print(1)", "It prints.", "does not parse: line 1: no"],
            ),
            (
                "web_research",
                {
                    "answer": "Because [1].",
                    "citations": [1],
                    "model": "m",
                    "sources": [
                        {"number": 1, "url": "http://a", "title": "A", "excerpt": "", "characters": 9, "error": None},
                        {"number": 2, "url": "http://b", "title": "", "excerpt": "", "characters": 0, "error": "404"},
                    ],
                },
                ["Because [1].", "*[1] A", "http://b", "not used: 404"],
            ),
            (
                "batch_embedding",
                {
                    "model": "all-minilm-l6-v2",
                    "dimensions": 384,
                    "count": 2000,
                    "encoding": "float",
                    "vectors": [[0.5] * 384],
                    "tokens": 9,
                    "truncated": 3,
                },
                ["2,000 vectors of 384 dimensions by all-minilm-l6-v2", "3 texts were cut", "[0.5000, "],
            ),
            ("brand_new", {"x": [1]}, ['"x"']),
        ],
    )
    def test_each_type_is_shown_in_its_own_way(self, platform, task_type, answer, expected):
        platform.on("GET", "/v1/tasks/t1", reply(task(type=task_type, result=answer)))
        result = run("task", "t1")
        assert result.exit_code == 0, result.exception
        for part in expected:
            assert part in result.stdout


class TestOtherCommands:
    def test_tasks_are_listed_over_pages(self, platform):
        row = task(attempts=1)
        platform.on(
            "GET",
            "/v1/tasks",
            reply({"tasks": [row] * 200, "next_cursor": "c"}),
            reply({"tasks": [row] * 50, "next_cursor": "d"}),
        )
        result = run("tasks", "--limit", "250", "--json", "--state", "succeeded")
        assert len(json.loads(result.stdout)["tasks"]) == 250
        assert "there are more" in run("tasks", "--limit", "50").stderr

    def test_a_narrow_terminal_cuts_no_id(self, platform):
        row = task(id="01a20b34523370a68785f9717ae97234", title="Write a haiku about a narrow terminal")
        platform.on("GET", "/v1/tasks", reply({"tasks": [row], "next_cursor": None}))
        for width, names in (("80", "ID STATE SUBMITTED WHAT"), ("100", "ID STATE TYPE COST SUBMITTED WHAT")):
            header, line = CliRunner(env={"COLUMNS": width}).invoke(main, ["tasks"]).stdout.splitlines()
            assert header.split() == names.split()
            assert line.startswith(f"{row['id']}  succeeded ")
            assert " Write a haiku" in line
        assert "light  light   normal" in run("tasks").stdout

    def test_nothing_to_list_is_said_in_words(self, platform):
        platform.on("GET", "/v1/tasks", reply({"tasks": [], "next_cursor": None}))
        result = run("tasks")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "no tasks yet" in result.stderr

    @pytest.mark.parametrize(
        ("after", "exit_code", "expected"),
        [
            (task("cancelled"), 0, "cancelled"),
            (task("running", cancel_requested=True), 0, "has been asked to stop"),
            (task(), 1, "has ended already: succeeded"),
        ],
    )
    def test_cancel(self, platform, after, exit_code, expected):
        platform.on("POST", "/v1/tasks/t1/cancel", reply(after))
        result = run("cancel", "t1", "--reason", "changed my mind")
        assert result.exit_code == exit_code
        assert expected in result.output
        assert platform.bodies_of("POST", "/v1/tasks/t1/cancel") == [{"reason": "changed my mind"}]

    def test_explain(self, platform):
        body = {
            "id": "t1",
            "state": "queued",
            "summary": "It waits for a worker.",
            "position": 3,
            "expected_start_at": AT,
            "basis": "recent tasks",
            "would_help": ["a higher priority"],
            "route": ROUTE,
        }
        platform.on("GET", "/v1/tasks/t1/explain", reply(body))
        out = run("explain", "t1").stdout
        for part in ("It waits for a worker.", "recent tasks", "a higher priority"):
            assert part in out
        assert json.loads(run("explain", "t1", "--json").stdout) == body
        unknown = {**body, "expected_start_at": None, "basis": "unknown: no instance is ready"}
        platform.on("GET", "/v1/tasks/t1/explain", reply(unknown))
        assert "starts     unknown: no instance is ready" in run("explain", "t1").stdout

    def test_unknown_figures_are_not_shown_as_zero(self, platform):
        row: dict[str, Any] = {
            "stream": "stream:light",
            "priority": "normal",
            "waiting": None,
            "running": 2,
            "delayed": 0,
            "retrying": 0,
            "backlog": None,
            "oldest_age_s": 3.0,
            "first_entry": None,
            "last_entry": None,
            "groups": [],
        }
        sums = {"waiting": None, "running": 2, "delayed": 0, "retrying": 0, "dead": 0, "poison": 0, "at": AT}
        platform.on("GET", "/v1/queue", reply({"streams": [row, {**row, "waiting": 0, "running": 0}], **sums}))
        lines = run("queue").stdout.splitlines()
        assert lines[1].split() == ["light", "normal", "?", "2", "0", "0", "3.0", "s"]
        assert lines[-1] == "? waiting, 2 running, 0 delayed, 0 retrying, 0 dead"
        assert len(run("queue", "--all").stdout.splitlines()) == len(lines) + 1

    def test_budgets(self, platform):
        row = {"name": "usd_per_day", "unit": "usd", "period": "2026-01-31", "cap": 2.5, "resets_at": AT}
        known = {**row, "spent": 0.5, "reserved": 0.25, "left": 1.75}
        unknown = {**row, "spent": None, "reserved": None, "left": None}
        body = {"tenant": "acme", "summary": "in words", "rebuilding": False, "budgets": [known, unknown], "at": AT}
        platform.on("GET", "/v1/budgets", reply(body), reply({**body, "budgets": []}))
        shown = run("budgets", "--tenant", "acme")
        lines = shown.stdout.splitlines()
        assert lines[1].split()[:6] == ["usd_per_day", "2026-01-31", "$2.50", "$0.500000", "$0.250000", "$1.75"]
        assert lines[2].split()[3:6] == ["?", "?", "?"]
        assert "in words" in shown.stderr
        assert run("budgets").stdout == ""

    def test_pools_with_their_instances(self, platform):
        instance = {
            "id": "i-1",
            "pool": "embedding",
            "state": "booting",
            "instance_type": "process",
            "region": "",
            "price_usd_per_hour": 0.0,
            "requested_at": AT,
            "ready_at": None,
            "busy": None,
            "slots": 2,
            "reason": "2,000 texts wait",
        }
        pool = {
            "name": "embedding",
            "provider": "local",
            "streams": ["embedding"],
            "min": 0,
            "max": 1,
            "desired": 1,
            "reason": "work waits",
            "waiting": 1,
            "running": 0,
            "idle_timeout_s": 20,
            "instances": [instance, {**instance, "id": "i-0", "state": "terminated"}],
        }
        platform.on("GET", "/v1/pools", reply({"pools": [pool], "at": AT}))
        out = run("pools").stdout
        for part in ("1 of 0–1, wanted 1; leaves after 20 s idle", "work waits", "i-1  booting", "?/2 busy"):
            assert part in out

    def test_pools_say_what_they_cost_and_take_orders_at_a_price_that_is_said_first(self, platform):
        pool = {
            "name": "gpu",
            "provider": "lambda",
            "streams": [],
            "min": 0,
            "max": 1,
            "desired": 0,
            "reason": "nothing waits or runs",
            "waiting": 0,
            "running": 0,
            "idle_timeout_s": None,
            "instances": [],
            "cordoned": False,
            "usd_per_hour": 1.09,
            "spent_usd_today": 2.5,
            "spent_usd_month": 3.0,
            "max_usd_per_day": 20.0,
            "max_usd_per_month": None,
        }
        platform.on("GET", "/v1/pools", reply({"pools": [pool], "at": AT}))
        assert "$1.09/h now; $2.50 of $20.00 today, $3.00 this month" in run("pools").stdout
        assert "nothing waits or runs" in run("pools", "why", "gpu").stdout
        assert run("pools", "why", "other").exit_code == 2
        said = {"ok": True, "message": "would launch gpu_1x_a6000 in us-west-1 at $1.09/h", "dry_run": True}
        platform.on("POST", "/v1/pools/gpu/orders", reply(said))
        assert "at $1.09/h" in run("pools", "launch", "gpu", "--dry-run").stdout
        refused = {"ok": False, "message": "the pool is cordoned", "dry_run": False}
        platform.on("POST", "/v1/pools/gpu/orders", reply(refused))
        assert run("pools", "launch", "gpu", "--yes").exit_code == 1

    def test_doctor_asks_the_platform_that_runs_here(self, platform):
        checks = [{"name": "redis", "ok": True, "detail": "answers"}]
        platform.on("GET", "/ready", reply({"ready": True, "checks": checks}))
        assert f"runs at {platform.url}, ready" in run("doctor").stdout
        checks[0] |= {"ok": False, "detail": "does not answer"}
        platform.on("GET", "/ready", reply({"ready": False, "checks": checks}, 503))
        result = run("doctor")
        assert result.exit_code == 1
        assert "redis: does not answer" in result.stdout


class TestErrorsInGroups:
    def run(self, monkeypatch, *errors: BaseException):
        def fail(*_: object, **__: object) -> None:
            raise BaseExceptionGroup("tasks", [BaseExceptionGroup("inner", errors)])

        monkeypatch.setattr("sophia.cli.connection.Connection.run", fail)
        return run("queue")

    def test_our_own_error_is_told_as_one_line(self, platform, monkeypatch):
        result = self.run(monkeypatch, Unavailable("Redis does not answer"), Unavailable("again"))
        assert result.exit_code == 5
        assert result.stderr == "error: Redis does not answer\n"

    def test_anything_else_is_not_hidden(self, platform, monkeypatch):
        result = self.run(monkeypatch, Unavailable("Redis does not answer"), ValueError("a bug"))
        assert isinstance(result.exception, BaseExceptionGroup)


class TestReaching:
    def test_nothing_listens(self, platform):
        url = f"http://127.0.0.1:{closed_port()}"
        result = run("queue", "--url", url)
        assert result.exit_code == 5
        assert "connection refused" in result.stderr
        assert "--url" in result.stderr

    def test_something_else_listens(self, platform):
        platform.on("GET", "/v1/queue", reply(["not", "ours"]))
        result = run("queue")
        assert result.exit_code == 5
        assert "does not answer as Sophia's API would" in result.stderr

    def test_option_then_variable_then_file(self, platform, monkeypatch):
        view = {
            "streams": [],
            "waiting": 0,
            "running": 0,
            "delayed": 0,
            "retrying": 0,
            "dead": 0,
            "poison": 0,
            "at": AT,
        }
        platform.on("GET", "/v1/queue", reply(view))
        monkeypatch.setenv("SOPHIA_URL", f"http://127.0.0.1:{closed_port()}")
        monkeypatch.setenv("SOPHIA_API_KEY", "key-2")
        assert run("queue").exit_code == 5
        assert run("queue", "--url", platform.url, "--api-key", "key-3").exit_code == 0
        assert run("--url", platform.url + "/", "queue").exit_code == 0
        monkeypatch.delenv("SOPHIA_URL")
        monkeypatch.delenv("SOPHIA_API_KEY")
        monkeypatch.setenv("SOPHIA_URL", platform.url)
        assert run("queue").exit_code == 0
        keys = [headers["Authorization"] for headers in platform.headers_of("GET", "/v1/queue")]
        assert keys == ["Bearer key-3", "Bearer key-2", "Bearer key-1"]

    def test_the_file_is_found_from_a_folder_below(self, platform, tmp_path, monkeypatch):
        platform.on("GET", "/v1/pools", reply({"pools": [], "at": None}))
        (tmp_path / "a" / "b").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "a" / "b")
        assert run("pools").exit_code == 0

    @pytest.mark.parametrize("url", ["localhost:8080", "ftp://h", "http://", "http://h:99999"])
    def test_an_address_that_cannot_be_one(self, platform, url):
        result = run("queue", "--url", url)
        assert result.exit_code == 2
        assert "--url is not a usable address" in result.stderr

    def test_a_broken_file_is_named(self, platform, tmp_path):
        (tmp_path / ".sophia" / "client.json").write_text("{")
        result = run("queue")
        assert result.exit_code == 2
        assert "client.json cannot be used" in result.stderr
