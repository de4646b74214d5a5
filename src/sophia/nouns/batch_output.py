"""Lines of a batch's output and error files, in OpenAI's shape."""

from __future__ import annotations

import hashlib

import msgspec


def line_id(batch_id: str, custom_id: str) -> str:
    """The same line of the same batch has the same id, however often it is carried out."""
    return f"batch_req_{hashlib.sha256(f'{batch_id} {custom_id}'.encode()).hexdigest()[:32]}"


def answered(batch_id: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """A request that was answered, well or not. ``body`` is JSON."""
    return _line(
        batch_id,
        custom_id,
        {"status_code": status, "request_id": request_id, "body": msgspec.Raw(body)},
        None,
    )


def unanswered(batch_id: str, custom_id: str, code: str, message: str) -> bytes:
    """A request that was not carried out."""
    return _line(batch_id, custom_id, None, {"code": code, "message": message})


def _line(batch_id: str, custom_id: str, response: object, error: object) -> bytes:
    line = {"id": line_id(batch_id, custom_id), "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(line) + b"\n"
