"""The object library's errors in terms of ``sophia.nouns.errors``. It gives most of what matters as text only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sophia.nouns.errors import SophiaError, StorageFull, Unavailable

# errno 28 (no space) and 122 (quota), and what S3 servers answer.
_FULL = ("os error 28", "os error 122", "507 Insufficient", "<Code>InsufficientStorage", "<Code>QuotaExceeded")
_NO_BUCKET = "<Code>NoSuchBucket"
_MEND_FULL = "free some space, or lower queue.ledger_retention_days"
_MEND_RIGHTS = "check objects.access_key_id and objects.secret_access_key, and what they may do"


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Errors of the object library and of the operating system, raised inside, come out as ours. ``FileNotFoundError``
    passes unless it is the whole place that is not there: what it means is for the caller to say."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except SophiaError:
        raise
    except TimeoutError as error:
        raise Unavailable(f"{place} does not answer in time") from error
    except (PermissionDeniedError, PermissionError, UnauthenticatedError) as error:
        raise Unavailable(f"{place} refuses access: {_first_line(error)}", mend=_MEND_RIGHTS) from error
    except (BaseError, OSError) as error:
        text = str(error)
        if any(sign in text for sign in _FULL) or getattr(error, "errno", None) in (28, 122):
            raise StorageFull(f"{place} has no room left", mend=_MEND_FULL) from error
        if _NO_BUCKET in text:
            raise Unavailable(f"{place} does not exist", field="objects.url", mend="create the bucket") from error
        if isinstance(error, FileNotFoundError):
            raise
        raise Unavailable(f"{place} is in trouble: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
