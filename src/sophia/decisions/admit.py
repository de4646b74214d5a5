"""What a task reserves of its tenant's budgets when it is admitted."""

from __future__ import annotations

import msgspec

from sophia.decisions.route import CHARACTERS_PER_TOKEN, estimated_tokens
from sophia.nouns.budget import Budget, Reservation, TenantBudget
from sophia.nouns.payloads import BatchEmbedding
from sophia.nouns.usage import NANO_USD_PER_USD
from sophia.settings.inference import HandlerDefaults, ModelSettings

MODEL_CALLS = {"long_planning": 3, "code_generation": 2, "web_research": 2}
"""Most model calls that a handler makes for one task (first answer, repair, follow-up)."""
PROMPT_OVERHEAD_TOKENS = 800
"""Instructions, examples and fetched text that handlers add to a call."""
RESEARCH_SOURCE_TOKENS = 6_000


def admitted_budget(
    task_type: str,
    payload: msgspec.Struct,
    budget: Budget,
    *,
    tenant: TenantBudget,
    defaults: HandlerDefaults,
    model: ModelSettings | None,
) -> tuple[Budget, Reservation | None]:
    """The task's effective budget and what it reserves.

    A cap that the task names itself is what it reserves. For a kind that the tenant has a cap on and the task has
    none, the worst case is estimated (prompt and longest answer of every call its handler may make, at the model's
    price) and becomes the task's cap: so a tenant's budget holds whatever its tasks do. Without tenant caps nothing
    is reserved.
    """
    if not (tenant.caps_usd or tenant.caps_tokens):
        return budget, None
    tokens_in, tokens_out = _worst_case(task_type, payload, defaults)
    if tenant.caps_tokens and budget.max_tokens is None:
        budget = msgspec.structs.replace(budget, max_tokens=tokens_in + tokens_out)
    if tenant.caps_usd and budget.max_usd is None:
        price_in = model.usd_per_1k_input_tokens if model else 0.0
        price_out = model.usd_per_1k_output_tokens if model else 0.0
        budget = msgspec.structs.replace(budget, max_usd=(tokens_in * price_in + tokens_out * price_out) / 1000)
    return budget, Reservation(
        nano_usd=round((budget.max_usd or 0.0) * NANO_USD_PER_USD) if tenant.caps_usd else 0,
        tokens=(budget.max_tokens or 0) if tenant.caps_tokens else 0,
    )


def _worst_case(task_type: str, payload: msgspec.Struct, defaults: HandlerDefaults) -> tuple[int, int]:
    """Tokens in and out, over all calls."""
    if isinstance(payload, BatchEmbedding):
        return sum(-(-len(text) // CHARACTERS_PER_TOKEN) + 2 for text in payload.texts), 0
    answer = getattr(payload, "max_tokens", None) or defaults.max_tokens
    prompt = estimated_tokens(payload) - (getattr(payload, "max_tokens", None) or 0) + PROMPT_OVERHEAD_TOKENS
    if task_type == "web_research":
        prompt += RESEARCH_SOURCE_TOKENS
    calls = MODEL_CALLS.get(task_type, 1)
    # A follow-up call also reads the answer before it.
    return calls * prompt + (calls - 1) * answer, calls * answer
