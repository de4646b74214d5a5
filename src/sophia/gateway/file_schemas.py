"""Shapes of OpenAI's files and batches."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Content = Annotated[str, msgspec.Meta(extra_json_schema={"format": "binary"})]
MetadataKey = Annotated[str, msgspec.Meta(max_length=64)]
MetadataValue = Annotated[str, msgspec.Meta(max_length=512)]
LEAST_TTL_S, LONGEST_TTL_S = 3_600, 2_592_000


class FileUpload(msgspec.Struct, frozen=True, kw_only=True):
    """A form. ``expires_after[anchor]`` (``created_at``) and ``expires_after[seconds]`` (3,600 to 2,592,000) may be
    fields of it too."""

    purpose: Literal["batch"]
    file: Content
    """JSONL: a request on each line."""


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    """Seconds since the epoch."""
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None = None


class FileObjects(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"]
    deleted: bool


class ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True):
    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=LEAST_TTL_S, le=LONGEST_TTL_S)]


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    input_file_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    endpoint: Literal["/v1/chat/completions", "/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[MetadataKey, MetadataValue], msgspec.Meta(max_length=16)] | None = None
    output_expires_after: ExpiresAfter | None = None
    """Of the files that the batch makes, from their making."""


class BatchErrorView(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    param: str | None
    line: int | None
    """Of the input file, counted from 1."""


class BatchErrors(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"]
    data: list[BatchErrorView]


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    completed: int
    failed: int


class InputTokenDetails(msgspec.Struct, frozen=True, kw_only=True):
    cached_tokens: int


class OutputTokenDetails(msgspec.Struct, frozen=True, kw_only=True):
    reasoning_tokens: int


class BatchUsage(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    input_tokens_details: InputTokenDetails
    output_tokens: int
    output_tokens_details: OutputTokenDetails
    total_tokens: int


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's batch. Times are seconds since the epoch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    """The one that all requests name, if there is one."""
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
    waits_for: str | None
    """Sophia's own: why no more of it is queued now, such as a budget that is used up."""


class BatchObjects(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
