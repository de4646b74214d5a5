"""Who asks: bearer keys to their holders."""

from __future__ import annotations

from starlette.requests import Request

from sophia.nouns.errors import Unauthorized
from sophia.settings.keyring import Holder, Keyring

_MEND = "send `Authorization: Bearer YOUR_API_KEY`"


def holder_of(request: Request, keyring: Keyring) -> Holder:
    """Raises ``Unauthorized`` that says whether the key is missing or wrong."""
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthorized("an API key is needed", field="Authorization", mend=_MEND)
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("the Authorization header has no bearer key", field="Authorization", mend=_MEND)
    holder = keyring.holder_of(key.strip())
    if holder is None:
        raise Unauthorized("this API key is not known", field="Authorization", mend=_MEND)
    return holder
