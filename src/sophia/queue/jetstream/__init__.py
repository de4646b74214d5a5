"""The queue on NATS JetStream (NATS server 2.12 and later). ``docs/jetstream.md`` says how it commits."""

from sophia.queue.jetstream.bus import Bus, close_bus, open_bus
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.producer import JetStreamTaskQueue
from sophia.queue.jetstream.upkeep import JetStreamUpkeep
from sophia.queue.jetstream.work import JetStreamWorkQueue

__all__ = [
    "Bus",
    "JetStreamOptions",
    "JetStreamTaskQueue",
    "JetStreamUpkeep",
    "JetStreamWorkQueue",
    "close_bus",
    "open_bus",
]
