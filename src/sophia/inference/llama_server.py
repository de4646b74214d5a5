"""The embedded chat server: llama.cpp's own OpenAI-compatible server with the packaged model."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
from importlib import resources
from pathlib import Path

import aiohttp

from sophia.inference.packaged import CHAT_MODEL, chat_model_file
from sophia.nouns.errors import ConfigError
from sophia.settings.inference import LlamaSettings
from sophia.sockets import bind

_log = logging.getLogger(__name__)

STOP_GRACE_S = 5.0
_DESTRUCTION_S = 10.0
_POLL_S = 0.05
PROMPT_BATCH_TOKENS = 256
_WARNINGS_ONLY = 2


async def serve(
    host: str,
    port: int,
    settings: LlamaSettings,
    stop: asyncio.Event,
    *,
    model_file: Path | None = None,
    model_name: str = CHAT_MODEL,
    chat_template: str | None = None,
) -> None:
    """Serve until ``stop`` is set; then running answers have ``STOP_GRACE_S`` to end. For a process of its own, which
    ends here, with status 0, when they take longer.

    ``/v1/chat/completions`` (streams, JSON schema, tools), ``/v1/models``, ``/health``, ``/metrics``, ``/slots``.
    ``chat_template`` None is the model's own, but for the packaged model one that knows tools.
    Generation stops when the client of a *streamed* answer disconnects; llama.cpp does not notice it of a plain one.
    Raises ``ConfigError`` when the model cannot be loaded or the address cannot be bound.
    """
    import xllamacpp  # type: ignore[import-untyped]

    # llama.cpp says neither which port is taken nor why.
    bind(host, port, "port").close()
    path = model_file or chat_model_file()
    params = xllamacpp.CommonParams()
    if chat_template is not None:
        params.chat_template = chat_template
    elif model_file is None:
        params.chat_template = resources.files("sophia.inference").joinpath("smollm2.jinja").read_text("utf-8")
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
    # A client that left is noticed between batches only, and a long prompt is read in these.
    params.n_batch = params.n_ubatch = PROMPT_BATCH_TOKENS
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
    if not await _idle(server.listening_address, STOP_GRACE_S):
        _end_process()
    # A request that came in just now would block it for ever, see _end_process.
    faulthandler.dump_traceback_later(_DESTRUCTION_S, exit=True)
    del server
    faulthandler.cancel_dump_traceback_later()


async def _idle(address: str, timeout_s: float) -> bool:
    """Whether every slot has finished within ``timeout_s``; returns as soon as that is so."""
    try:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession(address) as session:
            while True:
                async with session.get("/slots") as answer:
                    if not any(slot["is_processing"] for slot in await answer.json()):
                        return True
                await asyncio.sleep(_POLL_S)
    except (TimeoutError, aiohttp.ClientError):
        return False


def _end_process() -> None:
    """End now, skipping every destructor: xllamacpp's stops the work, then waits for the answers that it no longer
    works on, for ever and with the interpreter's lock held; and a normal exit without it crashes."""
    _log.warning("answers that ran for more than %g s are broken off", STOP_GRACE_S)
    logging.shutdown()
    os._exit(0)
