"""Files of requests, and the batches that are made of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from sophia.nouns.objects import ObjectRef

BATCHES_SNAPSHOT = "batches"
"""Changes whenever somebody has made or cancelled a batch; whoever carries batches out then looks at the store."""


class Purpose(StrEnum):
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a tenant. Its content is that of its parts, one after the other."""

    id: str
    tenant: str
    purpose: Purpose
    filename: str
    bytes: int
    created_at_ms: int
    expires_at_ms: int | None = None


class FilePart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whole lines of a file, in the object store."""

    object: ObjectRef
    first_line: int = 0
    """Of the file, counted from 1."""
    requests: int = 0
    """Lines that are not blank."""


class BatchStatus(StrEnum):
    """OpenAI's. ``docs/batches.md`` draws the ways between them."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)


class BatchFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a batch was not begun; ``line`` of the input file, counted from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchTokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """As the providers counted them."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: BatchTokens) -> BatchTokens:
        return BatchTokens(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``version`` rises with every change: who changes an older one changes nothing."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at_ms: int
    expires_at_ms: int
    models: tuple[str, ...]
    """Names that a request may give, as they were when the batch was made."""
    output_ttl_s: int
    """How long output files are kept."""
    metadata: dict[str, str] | None = None
    status: BatchStatus = BatchStatus.VALIDATING
    version: int = 0
    model: str | None = None
    """The one that all requests name, if there is one."""
    errors: tuple[BatchFault, ...] = ()
    waits_for: str | None = None
    """Why nothing more of it is queued now, in words."""
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: BatchTokens = BatchTokens()
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at_ms: int | None = None
    finalizing_at_ms: int | None = None
    cancelling_at_ms: int | None = None
    ended_at_ms: int | None = None
    expiring: bool = False
    """The window is over; what runs still may end."""


class BatchChunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The payload of an ``openai_batch`` task: some lines of a batch's input. Only the platform submits it."""

    title: str
    batch_id: str
    endpoint: str
    part: FilePart
    price_factor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class ChunkResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a chunk's lines."""

    completed: int = 0
    failed: int = 0
    output: tuple[ObjectRef, ...] = ()
    errors: tuple[ObjectRef, ...] = ()
    tokens: BatchTokens = BatchTokens()


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an input file that was found to be in order."""

    custom_id: str
    method: str
    url: str
    body: dict[str, Any]
