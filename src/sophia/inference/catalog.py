"""Which models there are, who serves each, and what they cost."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from sophia.inference.base import ModelCard
from sophia.nouns.errors import InvalidInput
from sophia.nouns.usage import Usage
from sophia.settings.inference import ModelSettings
from sophia.settings.loaded import ResolvedProvider
from sophia.settings.model import Settings

IN_PROCESS = "in-process"
"""The provider's name on the card of a model that is embedded here and by no provider in use."""

_NANO_USD_PER_1K_TO_TOKEN = 1_000_000


class Catalog:
    """The models of the settings that something in use serves, in the order of the settings."""

    def __init__(
        self, settings: Settings, providers: Mapping[str, ResolvedProvider], in_process: Collection[str] = ()
    ) -> None:
        self._settings = settings
        self._cards = {
            name: card
            for name, model in settings.models.items()
            if (card := _card(name, model, providers, in_process)) is not None
        }

    def cards(self) -> Sequence[ModelCard]:
        return tuple(self._cards.values())

    def resolve(self, model: str | None, *, kind: str, tier: str) -> ModelCard:
        """The named model, or the first one of its kind that the tier lists (an embedding model need list none).

        Raises ``InvalidInput`` with field ``model``; ``mend`` has the nearest names and says what is missing.
        """
        if model is None:
            return self._of_tier(kind, tier)
        card = self._cards.get(model)
        if card is None:
            raise self._unknown(model, kind)
        if card.kind != kind:
            raise InvalidInput(
                f"{model!r} is not {_with_article(kind)} model but {_with_article(card.kind)} model",
                field="model",
                mend=self._offer(kind),
            )
        return card

    def _of_tier(self, kind: str, tier: str) -> ModelCard:
        of_kind = [card for card in self._cards.values() if card.kind == kind]
        for card in of_kind:
            if tier in card.tiers:
                return card
        if kind == "embedding" and of_kind:
            return of_kind[0]
        raise InvalidInput(f"no {kind} model in use serves tier {tier!r}", field="model", mend=self._offer(kind))

    def _unknown(self, model: str, kind: str) -> InvalidInput:
        known = self._settings.models.get(model)
        if known is not None:
            return InvalidInput(
                f"nothing in use serves {model!r}", field="model", mend=f"{self._needs(known)}; {self._offer(kind)}"
            )
        nearest = difflib.get_close_matches(model, [card.id for card in self._cards.values() if card.kind == kind], n=3)
        hint = f"nearest: {', '.join(nearest)}" if nearest else self._offer(kind)
        return InvalidInput(f"unknown model {model!r}", field="model", mend=hint)

    def _needs(self, model: ModelSettings) -> str:
        ways = []
        for key, deployment in model.deployments().items():
            name = deployment.provider or key
            provider = self._settings.providers.get(name)
            variables = " and ".join(provider.when_set) if provider is not None else ""
            ways.append(f"{name} (set {variables})" if variables else name)
        return f"it needs provider {' or '.join(ways)}"

    def _offer(self, kind: str) -> str:
        names = [card.id for card in self._cards.values() if card.kind == kind]
        return f"{kind} models in use: {', '.join(names)}" if names else f"no {kind} model is in use"


def priced(card: ModelCard, usage: Usage) -> Usage:
    """``usage`` with what its tokens cost at the card's prices, to the nano-dollar."""
    input_tokens = usage.input_tokens + usage.embedding_tokens
    cost = (
        input_tokens * card.usd_per_1k_input_tokens + usage.output_tokens * card.usd_per_1k_output_tokens
    ) * _NANO_USD_PER_1K_TO_TOKEN
    return usage + Usage(cost_nano_usd=round(cost))


def _card(
    name: str, model: ModelSettings, providers: Mapping[str, ResolvedProvider], in_process: Collection[str]
) -> ModelCard | None:
    in_use = [d for key, d in model.deployments().items() if (d.provider or key) in providers]
    first = min(in_use, key=lambda deployment: deployment.order or 0, default=None)
    if first is None and name not in in_process:
        return None
    return ModelCard(
        id=name,
        kind=model.kind,
        provider=(first.provider if first else None) or IN_PROCESS,
        upstream_model=first.model if first else name,
        tiers=tuple(model.tiers),
        context_tokens=model.context_tokens,
        outline_first=model.outline_first,
        dimensions=model.dimensions,
        usd_per_1k_input_tokens=model.usd_per_1k_input_tokens,
        usd_per_1k_output_tokens=model.usd_per_1k_output_tokens,
    )


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
