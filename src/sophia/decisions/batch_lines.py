"""The lines of a batch's input: which are in order, what is wrong with the others, what they may cost at most."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from sophia.decisions.route import CHARACTERS_PER_TOKEN
from sophia.nouns.batches import BatchFault, RequestLine
from sophia.nouns.wording import nearest

KINDS = {"/v1/chat/completions": "chat", "/v1/embeddings": "embedding"}
"""Kind of model by endpoint."""
TOKENS_PER_MESSAGE = 4
MOST_FAULTS = 100
"""Of one batch that are listed; a client mends what it sees and sends the file again."""


class LineChecker:
    """Goes through a file once, part by part, and keeps what lines must not have in common."""

    def __init__(self, endpoint: str, models: Collection[str], max_requests: int) -> None:
        self._endpoint = endpoint
        self._models = models
        self._max_requests = max_requests
        self._first_lines: dict[str, int] = {}
        self.faults: list[BatchFault] = []
        self.requests = 0
        self.models_named: set[str] = set()

    @property
    def hopeless(self) -> bool:
        """Nothing that is still to come changes the verdict."""
        return len(self.faults) >= MOST_FAULTS or self.requests > self._max_requests

    def check(self, body: bytes, first_line: int) -> None:
        """One part of the file."""
        for number, raw in numbered(body, first_line):
            self.requests += 1
            if self.hopeless:
                return
            fault = self._fault(number, raw)
            if fault is not None:
                self.faults.append(fault)

    def verdict(self) -> tuple[BatchFault, ...]:
        """All that is wrong, once the whole file was seen."""
        if self.requests > self._max_requests:
            message = f"The file has more than {self._max_requests} requests."
            return (BatchFault(code="too_many_tasks", message=message),)
        if not self.requests:
            return (BatchFault(code="empty_file", message="The input file has no request."),)
        return tuple(self.faults)

    def _fault(self, number: int, raw: bytes) -> BatchFault | None:
        line, fault = read_line(raw, number)
        if line is None:
            return fault
        first = self._first_lines.setdefault(line.custom_id, number)
        if first != number:
            message = f"The custom_id {line.custom_id[:80]!r} was used for line {first} already."
            return BatchFault(code="duplicate_custom_id", message=message, line=number, param="custom_id")
        if line.method != "POST":
            return BatchFault(
                code="invalid_method", message=f"The method is {line.method[:20]!r}.", line=number, param="method"
            )
        if line.url != self._endpoint:
            message = f"The url {line.url[:80]!r} is not the batch's endpoint, {self._endpoint!r}."
            return BatchFault(code="mismatched_url", message=message, line=number, param="url")
        return self._body_fault(number, line.body)

    def _body_fault(self, number: int, body: Mapping[str, Any]) -> BatchFault | None:
        model = body.get("model")
        if not isinstance(model, str) or model not in self._models:
            named = f"The model {model[:80]!r} is not known" if isinstance(model, str) else "There is no model"
            mend = nearest(model, self._models) if isinstance(model, str) else "name one"
            return BatchFault(code="model_not_found", message=f"{named}; {mend}.", line=number, param="body.model")
        self.models_named.add(model)
        if body.get("stream"):
            message = "A request of a batch cannot be streamed."
            return BatchFault(code="invalid_request", message=message, line=number, param="body.stream")
        return None


def numbered(body: bytes, first_line: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers in the file."""
    for number, raw in enumerate(body.split(b"\n"), first_line):
        if raw.strip():
            yield number, raw


def read_line(raw: bytes, number: int) -> tuple[RequestLine | None, BatchFault | None]:
    """The request, or why there is none."""
    try:
        return msgspec.json.decode(raw, type=RequestLine), None
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        param = place.strip(".`") or None
        return None, BatchFault(code="invalid_line", message=f"{what}.", line=number, param=param)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, BatchFault(
            code="invalid_json_line", message="This line is not parseable as valid JSON.", line=number
        )


def input_tokens(body: Mapping[str, Any]) -> int:
    """About how many tokens a request gives a model to read."""
    texts = body.get("input")
    if texts is not None:
        return _embedding_tokens(texts)
    messages = body.get("messages")
    count = len(messages) if isinstance(messages, list) else 0
    return TOKENS_PER_MESSAGE * count + _tokens(messages) + _tokens(body.get("tools"))


def wanted_tokens(body: Mapping[str, Any]) -> tuple[int | None, int]:
    """Answer tokens that a request allows, over all its answers (``None``: it does not say), and how many answers."""
    answers = body.get("n")
    count = answers if isinstance(answers, int) and answers > 0 else 1
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if isinstance(value, int) and value > 0:
            return value * count, count
    return None, count


def worst_case(part: bytes, default_max_tokens: int) -> tuple[int, int]:
    """Tokens in and out that the requests of a part may use at most."""
    tokens_in = tokens_out = 0
    for number, raw in numbered(part, 0):
        line, _ = read_line(raw, number)
        if line is None:
            continue
        tokens_in += input_tokens(line.body)
        if line.url != "/v1/embeddings":
            wanted, answers = wanted_tokens(line.body)
            tokens_out += wanted or default_max_tokens * answers
    return tokens_in, tokens_out


def _embedding_tokens(texts: Any) -> int:
    if isinstance(texts, str):
        return -(-len(texts) // CHARACTERS_PER_TOKEN) + 2
    if not isinstance(texts, list):
        return 0
    if texts and all(isinstance(token, int) for token in texts):
        return len(texts)
    return sum(_embedding_tokens(text) for text in texts)


def _tokens(value: Any) -> int:
    if value is None:
        return 0
    text = value if isinstance(value, str) else msgspec.json.encode(value)
    return -(-len(text) // CHARACTERS_PER_TOKEN)
