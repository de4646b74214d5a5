"""What a person sees while following a task."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from sophia.cli import exit_codes, words
from sophia.cli.output import clean, console, note, one_line
from sophia.cli.results import show_result
from sophia.client.follow import TaskEvent, follow
from sophia.nouns.event import FINAL_EVENT_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sophia.client.api import Api

_LABEL_WIDTH = 10


class Watch:
    """Prints events as they come: state changes as lines, streamed text as it is."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._out = console()
        self._started = words.moment(task["submitted_at"])
        self._attempt = 0
        self._text = ""
        self._mid_line = False
        self._last_progress = ""
        self.ended = False
        """Whether the final event has been shown."""

    @property
    def streamed(self) -> str:
        """Text that the current attempt has shown so far."""
        return self._text

    def show(self, event: TaskEvent) -> None:
        name = event.kind.partition(".")[2]
        self.ended = event.kind in FINAL_EVENT_KINDS
        show: Callable[[TaskEvent], None] = getattr(self, f"_{name}", self._other)
        show(event)

    def close(self) -> None:
        self._end_line()

    def _scheduled(self, event: TaskEvent) -> None:
        self._line(event, "scheduled", words.route(event.data["route"]) if "route" in event.data else "")

    def _queued(self, event: TaskEvent) -> None:
        data = event.data
        parts = [words.route(data["route"])] if isinstance(data.get("route"), dict) else []
        if data.get("priority") is not None:
            parts.append(f"priority {data['priority']}")
        self._line(event, "queued", " · ".join(parts) or str(data.get("reason", "")))

    def _running(self, event: TaskEvent) -> None:
        data = event.data
        self._new_attempt(data.get("attempt", self._attempt + 1))
        self._line(event, "running", f"attempt {self._attempt} on {data.get('pool', '?')}/{data.get('worker', '?')}")

    def _progress(self, event: TaskEvent) -> None:
        data = event.data
        text = f"{data.get('done', '?')}/{data.get('total', '?')} {data.get('note', '')}".rstrip()
        if text != self._last_progress:
            self._last_progress = text
            self._line(event, "progress", text)

    def _output(self, event: TaskEvent) -> None:
        data = event.data
        text = str(data.get("text", ""))
        if data.get("attempt", self._attempt) != self._attempt:
            self._new_attempt(data["attempt"])
        # Characters that were shown already are not shown twice.
        offset = data.get("offset")
        if isinstance(offset, int) and offset < len(self._text):
            text = text[len(self._text) - offset :]
        self._text += text
        if shown := clean(text):
            if not self._mid_line:
                self._out.print()
            self._out.print(shown, end="", soft_wrap=True)
            self._out.file.flush()
            self._mid_line = True

    def _retrying(self, event: TaskEvent) -> None:
        data = event.data
        again = words.duration(float(data.get("retry_in_s", 0)))
        self._line(event, "retrying", f"attempt {data.get('attempt', '?')}: {self._error(event)}; again in {again}")

    def _succeeded(self, event: TaskEvent) -> None:
        self._line(event, "succeeded", words.usage(event.data.get("usage", {})))

    def _failed(self, event: TaskEvent) -> None:
        self._line(event, "failed", self._error(event))

    def _dead(self, event: TaskEvent) -> None:
        self._line(event, "dead", self._error(event))

    def _cancelled(self, event: TaskEvent) -> None:
        self._line(event, "cancelled", str(event.data.get("reason", "")))

    def _other(self, event: TaskEvent) -> None:
        self._line(event, event.kind.partition(".")[2], "")

    @staticmethod
    def _error(event: TaskEvent) -> str:
        return words.error(event.data.get("error") or {})

    def _new_attempt(self, number: int) -> None:
        self._attempt, self._text, self._last_progress = number, "", ""

    def _line(self, event: TaskEvent, label: str, text: str) -> None:
        from rich.text import Text

        self._end_line()
        passed = max(0.0, (words.moment(event.at) - self._started).total_seconds())
        line = Text(f"{words.duration(passed):>8}  ", style="dim")
        line.append(f"{label:<{_LABEL_WIDTH}}", style=words.STATE_STYLES.get(label, "default"))
        line.append(f" {one_line(text, 2000)}", style="default")
        self._out.print(line, soft_wrap=True)

    def _end_line(self) -> None:
        if self._mid_line:
            self._out.print("\n")
            self._mid_line = False


async def watch_task(api: Api, task_id: str) -> int:
    """Show the task until it has ended, then its result. Gives the exit status that says how it ended."""
    task = await api.task(task_id)
    out = console()
    out.print(f"{task['id']}  {task['type']}  {one_line(task['title'], 100)}", style="bold", soft_wrap=True)
    watch = Watch(task)
    try:
        async with aclosing(follow(api, task_id, on_reconnect=_say_reconnect)) as events:
            async for event in events:
                watch.show(event)
    finally:
        watch.close()
    task = await api.wait(task_id)
    # An answer that has just been streamed in full is not printed again; all else is nicer rendered than as it came.
    streamed = isinstance(task["result"], dict) and watch.streamed and task["result"].get("text") == watch.streamed
    if not streamed:
        _show_result(task)
    if not watch.ended or len(task["attempts"]) > 1:
        _show_sum(task)
    return exit_codes.of_task(task)


def show_end(task: dict[str, Any]) -> None:
    """The result, or why there is none, and what it cost in all."""
    _show_result(task)
    if task["state"] != "succeeded" and task["error"]:
        note(f"error: {one_line(words.error(task['error']), 2000)}")
    _show_sum(task)


def _show_result(task: dict[str, Any]) -> None:
    if task["state"] == "succeeded":
        out = console()
        out.print()
        show_result(out, task["type"], task["result"])
        out.print()


def _show_sum(task: dict[str, Any]) -> None:
    attempts = len(task["attempts"])
    console().print(
        f"{task['state']} · {words.usage(task['usage'])} · {attempts} attempt{'' if attempts == 1 else 's'}",
        style=words.STATE_STYLES.get(task["state"], ""),
        soft_wrap=True,
    )


async def _say_reconnect(tries: int, reason: str) -> None:
    if tries > 1:
        note(f"connection lost, trying again ({tries}): {reason}")
