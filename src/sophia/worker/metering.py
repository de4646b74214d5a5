"""What an attempt has spent, what its running calls may still spend, and what its budget leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sophia.inference.base import ModelCard
from sophia.nouns.budget import Budget
from sophia.nouns.clock import Clock
from sophia.nouns.errors import BudgetExceeded
from sophia.nouns.usage import NANO_USD_PER_USD, Usage

CHARACTERS_PER_TOKEN = 4
"""The usual rule of thumb for English text; providers report the real number after the call."""
TOKENS_PER_MESSAGE = 4
"""Role and separators of a chat template."""


def estimated_tokens(text: str) -> int:
    """About how many tokens ``text`` has, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def estimated_prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(TOKENS_PER_MESSAGE + _content_tokens(message.get("content")) for message in messages)


def _content_tokens(content: Any) -> int:
    if content is None:
        return 0
    return estimated_tokens(content if isinstance(content, str) else msgspec.json.encode(content).decode())


def cost_nano_usd(card: ModelCard, usage: Usage) -> int:
    """Price of ``usage`` by the model's card, nano-dollars."""
    read = (usage.input_tokens + usage.embedding_tokens) * card.usd_per_1k_input_tokens
    written = usage.output_tokens * card.usd_per_1k_output_tokens
    return round((read + written) / 1000 * NANO_USD_PER_USD)


class Call:
    """One model call while it runs: the most it may use, and what is known of it so far."""

    def __init__(self, card: ModelCard, reserved: Usage) -> None:
        self._card = card
        self._reserved = reserved
        self._pieces = 0
        self._characters = 0
        self._final: Usage | None = None

    def received(self, text: str) -> None:
        """A streamed piece came: it is one token at least."""
        self._pieces += 1
        self._characters += len(text)

    def finished(self, usage: Usage | None) -> None:
        """The provider's own figures; without any, the estimates stand."""
        self._final = msgspec.structs.replace(usage or self._so_far(), model_calls=1, run_s=0.0)

    def refused(self) -> None:
        """It ended in an error of the provider: unless part of an answer came, nothing was used."""
        if self._pieces == 0:
            self._final = Usage(model_calls=1)

    @property
    def reserved(self) -> Usage:
        return self._priced(self._reserved)

    @property
    def usage(self) -> Usage:
        """The provider's figures, or what was sent and received until now."""
        return self._priced(self._so_far() if self._final is None else self._final)

    def _so_far(self) -> Usage:
        written = max(self._pieces, -(-self._characters // CHARACTERS_PER_TOKEN))
        return msgspec.structs.replace(self._reserved, output_tokens=written)

    def _priced(self, usage: Usage) -> Usage:
        cost = usage.cost_nano_usd or cost_nano_usd(self._card, usage)
        return msgspec.structs.replace(usage, cost_nano_usd=cost)


class Meter:
    """Adds up an attempt's usage and holds it to the task's budget.

    ``spent_before`` is what earlier attempts used; it counts against the caps, not into ``usage``. Running calls
    count with all they may use, so that calls made at the same time cannot overspend together.
    """

    def __init__(self, budget: Budget, clock: Clock, spent_before: Usage) -> None:
        self._budget = budget
        self._clock = clock
        self._spent_before = spent_before
        self._started_s = clock.monotonic_s()
        self._ended = Usage()
        self._running: list[Call] = []

    @property
    def usage(self) -> Usage:
        total = self._ended + Usage(run_s=max(0.0, self._clock.monotonic_s() - self._started_s))
        for call in self._running:
            total += call.usage
        return total

    def open_chat(self, card: ModelCard, prompt_tokens: int, max_tokens: int) -> tuple[Call, int]:
        """Reserve a chat call. Returns it with the answer tokens it may use, at most ``max_tokens``.

        Raises ``BudgetExceeded`` when not even the prompt and one token fit.
        """
        committed = self._committed()
        self._check_run()
        prompt = Usage(input_tokens=prompt_tokens, model_calls=1)
        limits = (
            self._tokens_left(committed, prompt_tokens, least=1),
            self._affordable(committed, card, prompt, least=1),
        )
        allowed = min([max_tokens, *(limit for limit in limits if limit is not None)])
        return self._open(card, msgspec.structs.replace(prompt, output_tokens=allowed)), allowed

    def open_embedding(self, card: ModelCard, tokens: int) -> Call:
        """Reserve an embedding call of about ``tokens``; raises ``BudgetExceeded``."""
        committed = self._committed()
        self._check_run()
        self._tokens_left(committed, tokens, least=0)
        reserved = Usage(embedding_tokens=tokens, model_calls=1)
        self._affordable(committed, card, reserved, least=0)
        return self._open(card, reserved)

    def close(self, call: Call) -> None:
        """Settle a call: its reservation becomes what it used."""
        self._running.remove(call)
        self._ended += call.usage

    def check(self) -> None:
        """Raise ``BudgetExceeded`` when what was used is over a cap."""
        words = self._budget.exceeded_by(self._spent_before + self.usage)
        if words is not None:
            raise BudgetExceeded(f"{words}; nothing is left", field=f"budget.{words.partition(' ')[0]}")

    def run_left_s(self) -> float | None:
        """Seconds until ``max_run_s``; ``None`` without that cap."""
        if self._budget.max_run_s is None:
            return None
        return max(0.0, self._budget.max_run_s - self._spent_before.run_s - self.usage.run_s)

    def run_exceeded(self) -> BudgetExceeded:
        cap = self._budget.max_run_s or 0.0
        return BudgetExceeded(f"max_run_s is {cap:g}; 0 s are left", field="budget.max_run_s")

    def _open(self, card: ModelCard, reserved: Usage) -> Call:
        call = Call(card, reserved)
        self._running.append(call)
        return call

    def _committed(self) -> Usage:
        total = self._spent_before + self._ended
        for call in self._running:
            total += call.reserved
        return total

    def _check_run(self) -> None:
        left = self.run_left_s()
        if left is not None and left <= 0:
            raise self.run_exceeded()

    def _tokens_left(self, committed: Usage, needed: int, *, least: int) -> int | None:
        """Tokens left after ``needed``; raises when fewer than ``least``. ``None`` without a cap."""
        left = self._budget.tokens_left(committed)
        if left is None:
            return None
        if left - needed < least:
            raise BudgetExceeded(
                f"max_tokens is {self._budget.max_tokens}: {committed.total_tokens} are used, {left} are left, "
                f"and the next call needs about {needed + least} or more",
                field="budget.max_tokens",
            )
        return left - needed

    def _affordable(self, committed: Usage, card: ModelCard, prompt: Usage, *, least: int) -> int | None:
        """Answer tokens that the money left pays for after ``prompt``; ``None`` when money does not limit them."""
        if self._budget.max_usd is None:
            return None
        left = round(self._budget.max_usd * NANO_USD_PER_USD) - committed.cost_nano_usd
        after_prompt = left - cost_nano_usd(card, prompt)
        token_price = card.usd_per_1k_output_tokens / 1000 * NANO_USD_PER_USD
        if after_prompt < least * token_price:
            raise BudgetExceeded(
                f"max_usd is {self._budget.max_usd:g}: {max(0, left) / NANO_USD_PER_USD:.6f} USD are left, "
                f"less than the next call costs",
                field="budget.max_usd",
            )
        return None if token_price <= 0 else int(after_prompt / token_price)
