"""Reading JSON from a model's answer."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sophia.inference.base import ChatAnswer

Struct = TypeVar("Struct", bound=msgspec.Struct)

CUT = "the answer was cut off before its end: use fewer and shorter entries"


def read_json(answer: ChatAnswer, form: type[Struct]) -> tuple[Struct | None, str]:
    """The answer as ``form``, or ``None`` and what is wrong with it, in words for the model.

    A fence or words around the object are passed over: not every provider enforces a schema.
    """
    text = answer.text
    start, end = text.find("{"), text.rfind("}")
    if answer.finish_reason == "length" or start < 0 or end < start:
        return None, CUT if answer.finish_reason == "length" else "the answer has no JSON object"
    try:
        return msgspec.json.decode(text[start : end + 1], type=form), ""
    except msgspec.MsgspecError as error:
        return None, f"the answer is not the JSON asked for: {error}"
