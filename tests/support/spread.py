"""One model over several scripted providers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sophia.inference.base import ModelCard
from sophia.inference.directory import ModelDirectory
from sophia.settings.load import merged_settings
from sophia.settings.resolve import resolve
from tests.support.providers import ScriptedProvider, scripted_provider

MODEL = "spread"


class Spread:
    def __init__(self, providers: dict[str, ScriptedProvider], directory: ModelDirectory) -> None:
        self.providers = providers
        self.directory = directory

    @property
    def card(self) -> ModelCard:
        return self.directory.resolve(MODEL, kind="chat")

    def asked(self) -> dict[str, int]:
        return {name: len(provider.bodies) for name, provider in self.providers.items()}

    def states(self) -> dict[str, str]:
        return {status.name: status.state for status in self.directory.deployments(self.card)}


@contextlib.asynccontextmanager
async def spread(
    tmp_path: Path,
    deployments: Mapping[str, Mapping[str, Any]],
    *,
    fallback: Mapping[str, Any] | None = None,
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    **provider: Any,
) -> AsyncIterator[Spread]:
    """Each deployment at a provider of its own, which is named like it and knows the model as ``NAME-model``."""
    async with contextlib.AsyncExitStack() as stack:
        scripted = {name: await stack.enter_async_context(scripted_provider()) for name in deployments}
        config = {
            "providers": {
                name: {"kind": "openai", "base_url": server.url, **provider, **(providers or {}).get(name, {})}
                for name, server in scripted.items()
            },
            "models": {
                MODEL: {
                    "kind": "chat",
                    "providers": {name: {"model": f"{name}-model", **how} for name, how in deployments.items()},
                    "fallback": dict(fallback or {}),
                }
            },
        }
        path = tmp_path / "sophia.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        environ = {"SOPHIA_PROFILE": "local"}
        loaded = resolve(merged_settings(path, environ), environ, config_path=None, data_dir=Path("unused"))
        directory = ModelDirectory(loaded.settings, loaded.providers)
        stack.push_async_callback(directory.close)
        yield Spread(scripted, directory)
