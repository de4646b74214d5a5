"""``static``: as many as the bounds allow, always."""

from __future__ import annotations

from sophia.decisions.scaling.base import Situation, Want


def static(now: Situation) -> Want:
    return Want(need=now.bounds.max, reason="a fixed number", idle_s=now.spec.idle_timeout_s)
