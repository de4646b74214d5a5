"""Field types of the sections of ``sophia.yaml``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: keys that are not listed are an error."""


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
CountFrom1 = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{3}$")]
UrlPath = Annotated[str, msgspec.Meta(pattern=r"^/[^\s]*$")]


class SecretRef(Section, frozen=True, kw_only=True):
    """A secret by the name of the environment variable that holds it; the file itself never holds one."""

    env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]*$")]
