"""Parameters of the query, checked; faults named by the parameter."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sophia.gateway.body import misfit
from sophia.gateway.deps import Call
from sophia.nouns.errors import InvalidInput

T = TypeVar("T")


def number(call: Call, name: str, default: float, least: float, most: float, *, whole: bool = False) -> float:
    """A number of the query within its bounds, or ``default``. Raises ``InvalidInput``."""
    value = call.request.query_params.get(name)
    if value is None:
        return default
    number = parsed(call, name, value, int if whole else float)
    if not least <= number <= most:
        raise InvalidInput(f"{name} is {number:g}", field=name, mend=f"from {least:g} to {most:g}")
    return number


def parsed(call: Call, name: str, value: str, shape: type[T]) -> T:
    try:
        return msgspec.convert(value, shape, strict=False)
    except msgspec.ValidationError as error:
        fault = misfit(str(error), shape)
        raise InvalidInput(fault.message, field=name, mend=fault.mend) from error
