"""Fly.io's machines as a machine provider, after the published Machines API."""

from sophia.providers.fly.client import FlyClient
from sophia.providers.fly.provider import FlyApp, FlyProvider

__all__ = ["FlyApp", "FlyClient", "FlyProvider"]
