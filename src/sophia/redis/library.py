"""Lua that lives in the server between calls, where the server can do that."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from redis import exceptions as driver

from sophia.redis.base import Redis
from sophia.redis.connection import Script

log = logging.getLogger(__name__)


class Library:
    """Lua functions called by name, each on the keys of one slot.

    Servers since 7.0 compile the library once (``FUNCTION LOAD``); a script defines everything that it shares with the
    others anew in each call, which for a single task costs more than the task. Servers that lack functions or refuse
    them get scripts made of the same source. A library is named by its content: versions stand side by side, and what
    a server has lost is loaded again.
    """

    def __init__(self, client: Redis, name: str, shared: str, functions: Mapping[str, str], run: str) -> None:
        """``shared`` goes before the bodies in ``functions``; ``run`` is its function (body, keys, arguments) which calls
        a body."""
        self._client = client
        self._shared = shared
        self._functions = functions
        self._run = run
        digest = hashlib.sha1("\0".join((shared, run, *functions, *functions.values())).encode(), usedforsecurity=False)
        self._name = f"{name}_{digest.hexdigest()[:12]}"
        self._calls = {function: f"{self._name}_{function}" for function in functions}
        self._scripts: dict[str, Script] = {}
        self._as_scripts = False

    async def call(self, function: str, key: str, args: Sequence[Any]) -> Any:
        """One call on one key's slot. Raises the driver's errors."""
        if not self._as_scripts:
            words = ("FCALL", self._calls[function], 1, key, *args)
            try:
                return await self._client.call(key, *words)
            except driver.ResponseError as error:
                if not (self._note_refusal(error) or "function not found" in str(error).lower()):
                    raise
            if not self._as_scripts and await self._load(key):
                return await self._client.call(key, *words)
        script = self._scripts.get(function)
        if script is None:
            script = self._scripts[function] = Script(self._client, self.script(function))
        return await script(key, args)

    async def _load(self, key: str) -> bool:
        """Whether the server of this key has the library now."""
        try:
            await self._client.call(key, "FUNCTION", "LOAD", self.source())
        except driver.ResponseError as error:
            # Somebody else was faster.
            if "already exists" not in str(error) and not self._note_refusal(error):
                raise
        return not self._as_scripts

    def _note_refusal(self, error: driver.ResponseError) -> bool:
        """Servers before 7.0, services that leave functions out, users who may not."""
        text = str(error).lower()
        if "unknown command" not in text and not isinstance(error, driver.NoPermissionError):
            return False
        log.info("the Redis server takes no functions, scripts are used instead: %s", error)
        self._as_scripts = True
        return True

    def source(self) -> str:
        """What ``FUNCTION LOAD`` takes."""
        parts = [f"#!lua name={self._name}\n", self._shared]
        for function, body in self._functions.items():
            parts += (
                f"\nlocal function {function}_()\n{body}\nend\n",
                f"redis.register_function('{self._calls[function]}', "
                f"function(keys, args) return {self._run}({function}_, keys, args) end)\n",
            )
        return "".join(parts)

    def script(self, function: str) -> str:
        """The same function as a script."""
        # The shared part has names of its own for a call's keys and arguments.
        return (
            f"local keys_given, args_given = KEYS, ARGV\n{self._shared}\n"
            f"return {self._run}(function()\n{self._functions[function]}\nend, keys_given, args_given)\n"
        )
