"""``/v1/models``: what can be used now."""

from __future__ import annotations

from starlette.responses import Response

from sophia.gateway.deps import Call
from sophia.gateway.errors import UnknownModel
from sophia.gateway.openai_schemas import DeploymentInfo, ModelInfo, ModelInfoList
from sophia.gateway.responses import json_answer
from sophia.inference.base import ModelCard
from sophia.nouns.wording import nearest


async def list_models(call: Call) -> Response:
    return json_answer(ModelInfoList(object="list", data=[_info(call, card) for card in _cards(call)]))


async def get_model(call: Call) -> Response:
    name = call.request.path_params["model"]
    cards = {card.id: card for card in _cards(call)}
    if name not in cards:
        raise UnknownModel(f"there is no model {name[:200]!r}", field="model", mend=nearest(name, cards))
    return json_answer(_info(call, cards[name]))


def _cards(call: Call) -> list[ModelCard]:
    """Those that the key may use."""
    allowed = call.holder.limits.models
    return [card for card in call.deps.models.cards() if not allowed or card.id in allowed]


def _info(call: Call, card: ModelCard) -> ModelInfo:
    return ModelInfo(
        id=card.id,
        object="model",
        created=0,
        owned_by=card.provider,
        kind=card.kind,
        tiers=list(card.tiers),
        context_tokens=card.context_tokens,
        dimensions=card.dimensions,
        deployments=[
            DeploymentInfo(
                name=status.name,
                provider=status.provider,
                state=status.state,
                resting=status.resting,
                order=status.order,
                weight=status.weight,
                in_flight=status.in_flight,
            )
            for status in call.deps.models.deployments(card)
        ],
    )
