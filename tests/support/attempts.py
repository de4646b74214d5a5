"""Attempt contexts outside a worker: real models, events into a list."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.inference.base import Models
from sophia.nouns.clock import Clock, SystemClock
from sophia.nouns.usage import Usage
from sophia.settings.load import merged_settings
from sophia.settings.model import Settings
from sophia.worker.attempt_context import AttemptContext
from sophia.worker.handlers import HANDLERS, decode_payload
from tests.support.tasks import make_task


def local_settings(**sections: dict[str, Any]) -> Settings:
    """The packaged local profile with keys of some sections changed: ``research={"concurrency": 1}``."""
    settings = merged_settings(None, {"SOPHIA_PROFILE": "local"})
    changed = {name: msgspec.structs.replace(getattr(settings, name), **keys) for name, keys in sections.items()}
    return msgspec.structs.replace(settings, **changed)


class Recorded:
    """A context whose events are kept."""

    def __init__(
        self,
        models: Models,
        task_type: str,
        payload: dict[str, Any],
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        spent_before: Usage = Usage(),  # noqa: B008
        **task: Any,
    ) -> None:
        self.task = make_task(type=task_type, payload=payload, **task)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.refuse_events_with: Exception | None = None
        self.context = AttemptContext(
            self.task,
            1,
            settings or local_settings(),
            models,
            self.emit,
            clock or SystemClock(),
            spent_before=spent_before,
        )

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        if self.refuse_events_with is not None:
            raise self.refuse_events_with
        self.events.append((kind, data))

    async def run(self) -> Any:
        """The handler of the task's type, to its result."""
        return await HANDLERS[self.task.type](self.context, decode_payload(self.task))

    @property
    def outputs(self) -> list[dict[str, Any]]:
        return [data for kind, data in self.events if kind == "task.output"]

    @property
    def notes(self) -> list[str]:
        return [data["note"] for kind, data in self.events if kind == "task.progress"]

    @property
    def shown(self) -> str:
        """The streamed text, pieced together by its offsets."""
        text = ""
        for piece in self.outputs:
            assert piece["offset"] == len(text)
            text += piece["text"]
        return text
