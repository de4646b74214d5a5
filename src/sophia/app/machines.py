"""Machine providers from settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from sophia.app.gpu_hosts import host_documents
from sophia.nouns.clock import Clock, SystemClock
from sophia.nouns.errors import ConfigError
from sophia.providers.base import LaunchRequest, Provider
from sophia.settings.loaded import Loaded

Options = Mapping[str, Any]
"""Of the command line: ``environment``, ``worker_tether_fd``."""


def providers(loaded: Loaded, options: Options, clock: Clock) -> dict[str, Provider]:
    """Those that the pools name and that are set up. Workers of the local one inherit this process's environment."""
    names = {spec.provider for spec in loaded.settings.pools.values()}
    made: dict[str, Provider] = {}
    if "local" in names:
        made["local"] = local_provider(loaded, options, "workers")
    if "lambda" in names and loaded.lambda_cloud is not None:
        made["lambda"] = lambda_provider(loaded, clock)
    if "fly" in names and loaded.fly_machines is not None:
        made["fly"] = fly_provider(loaded, clock)
    return made


def local_provider(loaded: Loaded, options: Options, folder: str) -> Provider:
    """Worker processes whose files are in ``folder`` of the data folder."""
    from sophia.providers.local import LocalProvider

    tether_fd = options.get("worker_tether_fd")
    return LocalProvider(worker_command(loaded, tether_fd), loaded.data_dir / folder, options["environment"], tether_fd)


def lambda_provider(loaded: Loaded, clock: Clock) -> Provider:
    from sophia.providers.lambda_cloud import AiohttpTransport, LambdaClient, LambdaProvider

    resolved = loaded.lambda_cloud
    if resolved is None:
        raise RuntimeError("the provider lambda is built only where its key is set")
    settings = resolved.settings
    client = LambdaClient(
        AiohttpTransport(resolved.base_url, resolved.api_key, settings.timeout_s),
        clock,
        request_every_s=settings.request_every_s,
        launch_every_s=settings.launch_every_s,
    )
    return LambdaProvider(
        client,
        clock,
        owner=settings.owner,
        ssh_key_names=settings.ssh_key_names,
        image_family=settings.image_family,
        user_data=host_documents(loaded),
    )


def fly_provider(loaded: Loaded, clock: Clock) -> Provider:
    from sophia.providers.fly import FlyApp, FlyClient, FlyProvider
    from sophia.providers.http import ApiTransport

    resolved = loaded.fly_machines
    if resolved is None:
        raise RuntimeError("the provider fly is built only where its token is set")
    settings = resolved.settings
    apps = {
        name: FlyApp(
            name=name,
            image=settings.image,
            command=("worker", "--pool", name),
            environment=settings.environment,
            drain_timeout_s=spec.drain_timeout_s,
            kill_signal=loaded.settings.fly.kill_signal,
        )
        for name, spec in loaded.settings.pools.items()
        if spec.provider == FlyProvider.name
    }
    transport = ApiTransport(resolved.base_url, resolved.api_token, settings.timeout_s, "Fly")
    return FlyProvider(FlyClient(transport, clock), apps, owner=settings.owner)


def worker_command(loaded: Loaded, tether_fd: int | None) -> Callable[[LaunchRequest], list[str]]:
    """How a worker of this platform is started as a process here."""

    def command(request: LaunchRequest) -> list[str]:
        arguments = ["worker", "--pool", request.pool, "--id", request.instance_id, "--data-dir", str(loaded.data_dir)]
        if loaded.config_path is not None:
            arguments += ["--config", str(loaded.config_path)]
        arguments += ["--profile", loaded.settings.profile]
        if tether_fd is not None:
            arguments += ["--tether-fd", str(tether_fd)]
        return [sys.executable, "-m", "sophia.cli.main", *arguments]

    return command


async def end_machine(loaded: Loaded, instance_id: str) -> None:
    """Terminate one machine of ours at its cloud. Raises ``ConfigError`` without that cloud's key."""
    if loaded.lambda_cloud is None:
        raise ConfigError(
            "this host has no key of its cloud",
            mend="the reaper ends it, or name the key's variable in gpu_hosts.credentials",
        )
    provider = lambda_provider(loaded, SystemClock())
    try:
        for machine in await provider.machines():
            if machine.name == instance_id:
                await provider.terminate(machine.ref)
    finally:
        await provider.close()
