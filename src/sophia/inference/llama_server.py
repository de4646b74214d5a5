"""The embedded chat server: llama.cpp's own OpenAI-compatible server with the packaged model."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sophia.inference.packaged import CHAT_MODEL, chat_model_file
from sophia.nouns.errors import ConfigError
from sophia.settings.model import LlamaSettings

_log = logging.getLogger(__name__)

_WARNINGS_ONLY = 2


async def serve(
    host: str,
    port: int,
    settings: LlamaSettings,
    stop: asyncio.Event,
    *,
    model_file: Path | None = None,
    model_name: str = CHAT_MODEL,
) -> None:
    """Serve until ``stop`` is set; then running answers are broken off. For a process of its own.

    ``/v1/chat/completions`` (streams, JSON schema, tools), ``/v1/models``, ``/health``, ``/metrics``, ``/slots``.
    Generation stops when the client of a *streamed* answer disconnects; llama.cpp does not notice it of a plain one.
    Raises ``ConfigError`` when the model cannot be loaded or the address cannot be bound.
    """
    import xllamacpp  # type: ignore[import-untyped]

    path = model_file or chat_model_file()
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {model_name}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = settings.parallel
    # llama.cpp divides this among its slots.
    params.n_ctx = settings.context_tokens * settings.parallel
    # With two threads or more its workers spin, and are down to a token a second once the machine is busy otherwise.
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.endpoint_metrics = True
    params.ui = False
    # The prompt cache outside the slots may grow to 8 GB.
    params.cache_ram_mib = 0
    params.verbosity = _WARNINGS_ONLY
    try:
        server = await asyncio.to_thread(xllamacpp.Server, params)
    except RuntimeError as error:
        # llama.cpp has written the cause to stderr.
        raise ConfigError(f"cannot serve {path.name} on {host} port {port}: {error}") from error
    _log.info("chat model %s listens on %s", model_name, server.listening_address)
    await stop.wait()
    del server  # closes its socket and ends its threads
