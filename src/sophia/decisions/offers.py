"""Which offer a launch takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sophia.nouns.pool import Offer, PoolSpec


def choose_offer(
    spec: PoolSpec, offers: Sequence[Offer], refused: Collection[tuple[str, str]] = ()
) -> tuple[Offer | None, str]:
    """The first offer that is not known to be sold out and within the pool's price, or ``None``; and why, in words.

    Offers come in the pool's order of preference. Unknown availability is worth an attempt. ``refused`` are types and
    regions that had no capacity a moment ago, whatever is said of them.
    """
    if not offers:
        return None, f"provider {spec.provider} offers none of {', '.join(spec.instance_types)}"
    limit = spec.max_price_usd_per_hour
    affordable = [offer for offer in offers if limit is None or offer.price_usd_per_hour <= limit]
    if not affordable:
        cheapest = min(offer.price_usd_per_hour for offer in offers)
        return None, f"the cheapest of {len(offers)} offers is ${cheapest:g}/h, the pool's maximum is ${limit:g}/h"
    for offer in affordable:
        if offer.available is not False and (offer.instance_type, offer.region) not in refused:
            return offer, f"{offer.instance_type} in {offer.region} at ${offer.price_usd_per_hour:g}/h"
    return None, f"all {len(affordable)} affordable offers are sold out"
