"""What a worker does for each task type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from sophia.nouns import payload_checks
from sophia.nouns.task import Task, TaskType
from sophia.worker.context import Handler
from sophia.worker.handlers import (
    batch_embedding,
    code_generation,
    light,
    long_planning,
    openai_batch,
    web_research,
)

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        TaskType.LONG_PLANNING: long_planning.run,
        TaskType.CODE_GENERATION: code_generation.run,
        TaskType.BATCH_EMBEDDING: batch_embedding.run,
        TaskType.WEB_RESEARCH: web_research.run,
        TaskType.LIGHT: light.run,
        TaskType.OPENAI_BATCH: openai_batch.run,
    }
)


def decode_payload(task: Task) -> msgspec.Struct:
    """The payload struct that the task's handler takes; raises ``InvalidInput`` that names ``payload.<field>``.

    How many texts one task may have was settled when it was accepted.
    """
    return payload_checks.decode(task.type, task.payload, internal=True)
