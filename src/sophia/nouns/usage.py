"""What an attempt really cost."""

from __future__ import annotations

import msgspec

NANO_USD_PER_USD = 1_000_000_000


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, seconds and money spent; adds up with ``+``.

    Money is an integer of nano-dollars: the cheapest price in use ($0.00002 per 1,000 tokens) is
    20 nano-dollars a token, so sums stay exact where floats would drift.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    embedding_tokens: int = 0
    model_calls: int = 0
    run_s: float = 0.0
    cost_nano_usd: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            embedding_tokens=self.embedding_tokens + other.embedding_tokens,
            model_calls=self.model_calls + other.model_calls,
            run_s=self.run_s + other.run_s,
            cost_nano_usd=self.cost_nano_usd + other.cost_nano_usd,
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.embedding_tokens

    @property
    def cost_usd(self) -> float:
        """Cost in USD, for display; sums are made in nano-dollars."""
        return self.cost_nano_usd / NANO_USD_PER_USD
