"""A chat request in OpenAI's form as one of Anthropic's Messages API (version 2023-06-01).

What that API has no counterpart for and what changes the answer's form (``n`` above 1, ``logprobs``) is refused; what is
a mere wish (``seed``, penalties, ``logit_bias``) is left out. Everything else that is not known passes through, so that
Anthropic's own parameters (``thinking``, ``top_k``, ``cache_control``, …) can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sophia.nouns.errors import InvalidInput

MAX_TOKENS = 4096
"""Where neither the request nor the model's settings say; the API demands a number."""

_LEFT_OUT = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "store",
        "stream_options",
        "top_logprobs",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_HANDLED = frozenset({"messages", "tools", "tool_choice", "temperature", "metadata"})
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def messages_request(body: Mapping[str, Any], *, max_tokens: int = MAX_TOKENS) -> dict[str, Any]:
    """Raises ``InvalidInput`` (field) for what cannot be said in Anthropic's form."""
    _refuse_what_it_cannot(body)
    system, turns = _turns(body.get("messages") or [])
    request = {name: value for name, value in body.items() if name not in _LEFT_OUT and name not in _HANDLED}
    given = body.get("max_completion_tokens") or body.get("max_tokens")
    request["max_tokens"] = max_tokens if given is None else given
    request["messages"] = turns
    if system:
        request["system"] = system
    if (temperature := body.get("temperature")) is not None:
        # OpenAI's scale ends at 2, Anthropic's at 1.
        request["temperature"] = min(temperature, 1.0)
    if stop := body.get("stop"):
        request["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if user := body.get("user"):
        request["metadata"] = {"user_id": user}
    request |= _tools(body)
    if config := _output_config(body):
        request["output_config"] = config
    return {name: value for name, value in request.items() if value is not None}


def _refuse_what_it_cannot(body: Mapping[str, Any]) -> None:
    if (body.get("n") or 1) != 1:
        raise InvalidInput("Anthropic gives one answer a request", field="n", mend="1, or ask several times")
    if body.get("logprobs"):
        raise InvalidInput("Anthropic gives no log probabilities", field="logprobs", mend="leave it out")
    if body.get("functions"):
        raise InvalidInput("functions are the deprecated form of tools", field="functions", mend="tools")


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system prompt's blocks, and turns that alternate: tool results and what follows them are one user turn."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        role, path = message.get("role"), f"messages[{number}]"
        if role in ("system", "developer"):
            system += _blocks(message.get("content"), path)
            continue
        if role == "tool":
            speaker, blocks = "user", [_tool_result(message, path)]
        elif role == "assistant":
            speaker, blocks = "assistant", _assistant(message, path)
        elif role == "user":
            speaker, blocks = "user", _blocks(message.get("content"), path)
        else:
            raise InvalidInput(f"Anthropic knows no role {role!r}", field=f"{path}.role")
        if not blocks:
            continue
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": speaker, "content": blocks})
    return system, turns


def _assistant(message: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    blocks = _blocks(message.get("content"), path)
    if refusal := message.get("refusal"):
        blocks.append({"type": "text", "text": refusal})
    for number, call in enumerate(message.get("tool_calls") or []):
        function = call.get("function") or {}
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": _arguments(function.get("arguments"), f"{path}.tool_calls[{number}].function.arguments"),
            }
        )
    return blocks


def _arguments(text: Any, path: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, TypeError) as error:
        raise InvalidInput("tool arguments are not JSON", field=path) from error
    if not isinstance(arguments, dict):
        raise InvalidInput("tool arguments are not a JSON object", field=path)
    return arguments


def _tool_result(message: Mapping[str, Any], path: str) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
    blocks = _blocks(message.get("content"), path)
    if blocks:
        result["content"] = blocks
    return result


def _blocks(content: Any, path: str) -> list[dict[str, Any]]:
    """Empty texts are left out: the API refuses them."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise InvalidInput("content is neither text nor a list of parts", field=f"{path}.content")
    blocks = []
    for number, part in enumerate(content):
        if not isinstance(part, Mapping):
            raise InvalidInput("a part of the content is not an object", field=f"{path}.content[{number}]")
        if part.get("type") == "text" and not part.get("text"):
            continue
        blocks.append(_part(part, f"{path}.content[{number}]"))
    return blocks


def _part(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    kept = {"cache_control": part["cache_control"]} if part.get("cache_control") else {}
    if kind == "text":
        return {"type": "text", "text": part["text"], **kept}
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal") or "", **kept}
    if kind == "image_url":
        return {"type": "image", "source": _image(part.get("image_url"), path), **kept}
    raise InvalidInput(f"Anthropic takes no {kind!r} here", field=f"{path}.type", mend="text or image_url")


def _image(given: Any, path: str) -> dict[str, Any]:
    url = given.get("url") if isinstance(given, Mapping) else given
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    head, comma, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    media, _, encoding = head.removeprefix("data:").partition(";")
    if not comma or not head.startswith("data:image/") or encoding != "base64":
        raise InvalidInput(
            "an image is an https URL or base64 data", field=f"{path}.image_url", mend="data:image/png;base64,…"
        )
    return {"type": "base64", "media_type": media, "data": data}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(body.get("tools") or [])]
    if not tools:
        return {}
    request: dict[str, Any] = {"tools": tools}
    choice = body.get("tool_choice")
    chosen: dict[str, Any] | None = None
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise InvalidInput(f"unknown tool_choice {choice!r}", field="tool_choice", mend=", ".join(_CHOICES))
        chosen = {"type": _CHOICES[choice]}
    elif isinstance(choice, Mapping):
        chosen = {"type": "tool", "name": (choice.get("function") or {}).get("name")}
    if body.get("parallel_tool_calls") is False:
        chosen = chosen or {"type": "auto"}
        if chosen["type"] != "none":
            chosen["disable_parallel_tool_use"] = True
    if chosen is not None:
        request["tool_choice"] = chosen
    return request


def _tool(tool: Mapping[str, Any], path: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        # A tool of Anthropic's own (web_search and the like) is written as its API has it.
        return dict(tool)
    function = tool.get("function") or {}
    if not function.get("name"):
        raise InvalidInput("a function has no name", field=f"{path}.function.name")
    made = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    for name in ("description", "strict"):
        if function.get(name) is not None:
            made[name] = function[name]
    return made


def _output_config(body: Mapping[str, Any]) -> dict[str, Any]:
    """Schemas are native (``output_config.format``). ``json_object`` promises JSON of no certain form, which only the
    prompt can ask for there; it is left to it."""
    config = dict(body.get("output_config") or {})
    if (effort := body.get("reasoning_effort")) in _EFFORTS:
        config.setdefault("effort", _EFFORTS[effort])
    wanted = body.get("response_format")
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":
        schema = (wanted.get("json_schema") or {}).get("schema")
        if not isinstance(schema, Mapping):
            raise InvalidInput("a schema is missing", field="response_format.json_schema.schema")
        config["format"] = {"type": "json_schema", "schema": schema}
    return config
