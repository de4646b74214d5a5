"""What is allowed but probably not meant."""

from __future__ import annotations

from sophia.nouns.task import Tier
from sophia.settings.loaded import Loaded
from sophia.settings.resolve import model_of_tier, usable_models


def unserved(loaded: Loaded) -> list[str]:
    """Tiers that no model in use serves, with the variables that would change it."""
    settings = loaded.settings
    usable = usable_models(settings, loaded.providers)
    found = []
    for kind in ("chat", "embedding"):
        tiers = [tier for tier in Tier if model_of_tier(settings, usable, kind, tier) is None]
        if tiers:
            names = sorted(
                {
                    " and ".join(provider.when_set)
                    for model in settings.models.values()
                    if model.kind == kind
                    for name, provider in settings.providers.items()
                    if name in model.provider_names() and provider.when_set
                }
            )
            found.append(f"no {kind} model in use serves tier {', '.join(tiers)}; set one of {', '.join(names)}")
    return found
