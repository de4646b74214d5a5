"""Payloads against the settings: the same when a request comes in and when a schedule is read."""

from __future__ import annotations

import msgspec

from sophia.nouns import payload_checks
from sophia.nouns.errors import InvalidInput
from sophia.nouns.submission import Submission
from sophia.nouns.wording import nearest
from sophia.settings.model import Settings

EMBEDDING_TYPES = frozenset({"batch_embedding"})


def checked_payload(submission: Submission, settings: Settings) -> msgspec.Struct:
    """The payload as its type's struct. Raises ``InvalidInput`` that names the field."""
    payload = payload_checks.decode(submission.type, submission.payload, max_texts=settings.embedding.max_texts)
    _check_model(submission.type, payload, settings)
    return payload


def _check_model(task_type: str, payload: msgspec.Struct, settings: Settings) -> None:
    """A named model must be in the configuration, and of the kind that the type needs."""
    name = getattr(payload, "model", None)
    if name is None:
        return
    kind = "embedding" if task_type in EMBEDDING_TYPES else "chat"
    fitting = [known for known, model in settings.models.items() if model.kind == kind]
    if name not in fitting:
        other = name in settings.models
        message = f"{name!r} is not {'an' if kind == 'embedding' else 'a'} {kind} model" if other else None
        raise InvalidInput(message or f"there is no model {name!r}", field="payload.model", mend=nearest(name, fitting))
