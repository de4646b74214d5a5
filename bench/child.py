"""One process of one measured queue: ``python -m bench.child NAME work|MEASURE '{"redis": …, …}'``.

Prints one line of JSON. Runs in the environment of the queue it measures.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from typing import Any

from bench.peers.base import Places

try:
    import uvloop

    new_loop: Any = uvloop.new_event_loop
except ImportError:
    new_loop = asyncio.new_event_loop


async def measured(module: Any, measure: str, places: Places, options: dict[str, Any]) -> dict[str, Any]:
    from bench.driver import MEASURES

    peer_options = options.pop("peer", {})
    if measure == "floor":
        return await module.floor(places, **options)
    peer = await module.open_peer(places, **peer_options)
    try:
        return await MEASURES[measure](peer, **options)
    finally:
        await peer.close()


def main() -> None:
    name, measure, text = sys.argv[1:4]
    options = json.loads(text)
    places = Places(options.pop("redis"), options.pop("nats", ""))
    logging.basicConfig(level=logging.WARNING)
    module = importlib.import_module(f"bench.peers.{name}_peer")
    if measure == "work":
        module.work(places, **options.pop("peer", {}))
        return
    with asyncio.Runner(loop_factory=new_loop) as runner:
        print(json.dumps(runner.run(measured(module, measure, places, options))), flush=True)


if __name__ == "__main__":
    main()
