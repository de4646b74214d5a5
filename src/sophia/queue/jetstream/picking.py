"""Which waiting tasks a worker takes: by priority, the aged first now and then, lanes in turn, caps kept."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from sophia.nouns.task import TaskState
from sophia.queue.jetstream import names
from sophia.queue.jetstream.bus import Bus
from sophia.queue.jetstream.committer import Committer
from sophia.queue.jetstream.messages import Put, Stored
from sophia.queue.jetstream.options import JetStreamOptions
from sophia.queue.jetstream.record import Known, Record

PRIORITIES = range(4)
UNRIPE_MS = 5_000
"""An entry is stored just before its record: one without a record that would fit is left alone for so long."""
POISON_TTL_S = 30 * 86_400
READ_AHEAD = 4
"""So many times as many entries are read at once as are wanted: what is left of them serves the next rounds."""
CROWD = 4
"""Where others take the same tasks, so many times as many are looked at and some of them chosen by chance."""

Lanes = dict[tuple[str, int], list[str]]


class Entry(msgspec.Struct, frozen=True):
    """A waiting task as it was found."""

    seq: int
    known: Known


class Picked(msgspec.Struct):
    entries: list[Entry] = []
    guards: list[Put] = []
    """Written with the leases: they fail when somebody else has leased under the same cap."""
    unripe: bool = False
    """Something was seen whose record is still to come."""
    capped: bool = False
    """Something was seen that a cap holds back."""


class Picker:
    """Remembers whose turn it is. Turns are each worker's own: all workers taking turns is as fair as one."""

    def __init__(self, bus: Bus, committer: Committer, options: JetStreamOptions) -> None:
        self._bus = bus
        self._committer = committer
        self._options = options
        self._turn = 0
        self._served: dict[tuple[str, int], str] = {}
        self._heads: dict[tuple[str, int, str], int] = {}
        self._ahead: dict[tuple[str, int, str], list[Stored]] = {}
        self._none_aged_until_ms: dict[tuple[str, int], float] = {}
        self._markers: dict[str, Stored] = {}
        self._made_ms = bus.created_ms

    async def pick(self, streams: Sequence[str], count: int, now_ms: int, *, crowded: bool) -> Picked:
        """Up to ``count`` tasks that were waiting a moment ago."""
        lanes = await self._lanes(streams)
        if self._made_ms != self._bus.created_ms:
            # Another stream, whose sequences count anew.
            self._made_ms = self._bus.created_ms
            self._heads.clear()
            self._ahead.clear()
        self._turn += 1
        round_ = _Round(self._bus, self._committer, self._options, now_ms, crowded)
        for_aged = count // 2 or (count if self._turn % 2 == 0 else 0)
        for priority in reversed(PRIORITIES[1:]):
            for stream in streams:
                room = for_aged - len(round_.picked.entries)
                if room > 0 and (stream, priority) in lanes:
                    await self._aged(round_, stream, priority, room)
        for priority in PRIORITIES:
            for number in range(len(streams)):
                # Streams of one priority take turns at being first.
                stream = streams[(number + self._turn) % len(streams)]
                room = count - len(round_.picked.entries)
                if room > 0 and (stream, priority) in lanes:
                    await self._in_turn(round_, stream, priority, lanes[stream, priority], room)
        looked_at = [key for key in self._ahead if key in round_.seen_up_to]
        for key in looked_at:
            self._ahead[key] = [entry for entry in self._ahead[key] if entry.seq not in round_.done_with]
        return round_.picked

    async def pick_announced(self, entries: Sequence[Stored], now_ms: int) -> Picked:
        """When nothing else waits: whose turn it is does not matter, since all can be taken."""
        round_ = _Round(self._bus, self._committer, self._options, now_ms, crowded=False)
        await round_.take(sorted(entries, key=_urgency), len(entries))
        return round_.picked

    async def _lanes(self, streams: Sequence[str]) -> Lanes:
        found: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        self._markers = await self._bus.newest([names.active_in(stream) for stream in streams])
        for subject in self._markers:
            stream, priority, lane = names.active_parts(subject)
            found[stream, priority].append(lane)
        return dict(found)

    async def _aged(self, round_: _Round, stream: str, priority: int, room: int) -> None:
        if round_.now_ms < self._none_aged_until_ms.get((stream, priority), 0):
            return
        boost_ms = self._options.age_boost_s * 1000
        oldest = await self._bus.after(0, names.waiting_in(stream, priority), room)
        aged = [entry for entry in oldest if entry.at_ms < round_.now_ms - boost_ms and not self._is_gone(entry)]
        if not aged:
            # What comes later is younger than the oldest of now.
            youth_ms = min([round_.now_ms, *(entry.at_ms for entry in oldest)])
            self._none_aged_until_ms[stream, priority] = youth_ms + boost_ms
        await round_.take(aged, room)

    async def _in_turn(self, round_: _Round, stream: str, priority: int, lanes: list[str], room: int) -> None:
        """One from each lane in turn, until there is no room or nothing left."""
        lanes = sorted(lanes)
        after = self._served.get((stream, priority))
        if after is not None:
            start = sum(1 for lane in lanes if lane <= after)
            lanes = lanes[start:] + lanes[:start]
        while lanes and room > 0:
            asked = lanes[: max(room, 1)]
            share = max(1, -(-room // len(lanes)))
            found = await asyncio.gather(*(self._heads_of(round_, stream, priority, lane, share) for lane in asked))
            turns = [
                (lane, entry)
                for n in range(share)
                for lane, heads in zip(asked, found, strict=True)
                for entry in heads[n : n + 1]
            ]
            taken = await round_.take([entry for _, entry in turns], room)
            room -= len(taken)
            for lane, entry in turns:
                if entry.seq in taken:
                    self._served[stream, priority] = lane
            lanes = [lane for lane, heads in zip(asked, found, strict=True) if len(heads) == share] + lanes[
                len(asked) :
            ]

    async def _heads_of(self, round_: _Round, stream: str, priority: int, lane: str, count: int) -> list[Stored]:
        """The next waiting entries of a lane that this round has not looked at."""
        if round_.is_full(lane):
            return []
        key = stream, priority, lane
        wanted = count * CROWD if round_.crowded else count
        seen = round_.seen_up_to.get(key, 0)
        found = [entry for entry in self._ahead.get(key, ()) if entry.seq > seen and not self._is_gone(entry)]
        if len(found) < wanted:
            # What came since the last read stands behind what it gave.
            found += await self._read(key, found[-1].seq if found else seen, wanted * READ_AHEAD)
            if found:
                self._ahead[key] = found
            elif not seen:
                self._ahead.pop(key, None)
        found = found[:wanted]
        if found:
            round_.seen_up_to[key] = found[-1].seq
        if round_.crowded and len(found) > count:
            found = sorted(random.sample(found, count), key=lambda entry: entry.seq)
        return found

    async def _read(self, key: tuple[str, int, str], seen: int, count: int) -> list[Stored]:
        """Read on in a lane behind what this round has seen, else from where its head was."""
        # Entries leave from the front and join at the end: where the last head was is a place to start from.
        after = seen or self._heads.get(key, 1) - 1
        while True:
            page = await self._bus.after(after, names.waiting_in(*key), count)
            found = [entry for entry in page if not self._is_gone(entry)]
            if found or len(page) < count:
                break
            after = page[-1].seq
        if not seen and page:
            self._heads[key] = page[0].seq
        elif not seen:
            self._heads.pop(key, None)
            await self._retire(*key)
        return found

    def _is_gone(self, entry: Stored) -> bool:
        """Leased here already, and its deletion is on its way."""
        return entry.seq in self._bus.discards

    async def _retire(self, stream: str, priority: int, lane: str) -> None:
        """An empty lane is forgotten; if something has come meanwhile its entry is another one, which stays."""
        marker = self._markers.get(names.active(stream, priority, lane))
        if marker is not None:
            self._bus.discards.add([marker.seq])


class _Round:
    """One look at what waits."""

    def __init__(self, bus: Bus, committer: Committer, options: JetStreamOptions, now_ms: int, crowded: bool) -> None:
        self.picked = Picked(entries=[], guards=[])
        self.now_ms = now_ms
        self.crowded = crowded
        self.seen_up_to: dict[tuple[str, int, str], int] = {}
        self._bus = bus
        self._committer = committer
        self._options = options
        self.done_with: set[int] = set()
        """Entries that need not be looked at again."""
        self._seen: set[int] = set()
        self._room: dict[str, int] = {}
        self._full: set[str] = set()

    def is_full(self, lane: str) -> bool:
        """Whether this round has met the cap of everything in the lane."""
        return lane in self._full

    async def take(self, entries: Sequence[Stored], room: int) -> set[int]:
        """Take those that can be leased; gives their sequences."""
        fresh = [entry for entry in entries if entry.seq not in self._seen]
        self._seen.update(entry.seq for entry in fresh)
        known = await self._committer.known([names.task_id_of(entry.subject) for entry in fresh]) if fresh else {}
        taken: set[int] = set()
        for entry in fresh:
            found = known.get(names.task_id_of(entry.subject))
            if found is None or found.record.state is not TaskState.QUEUED or not _is_entry_of(entry, found.record):
                self.done_with.add(entry.seq)
                await self._set_aside(entry, found)
            elif len(taken) < room and await self._under_caps(found.record):
                taken.add(entry.seq)
                self.done_with.add(entry.seq)
                self.picked.entries.append(Entry(entry.seq, found))
        return taken

    async def _set_aside(self, entry: Stored, found: Known | None) -> None:
        """What has no record that it fits never blocks the stream; what is no task at all is kept to be looked at."""
        if self.now_ms - entry.at_ms < UNRIPE_MS:
            self.picked.unripe = True
            return
        if found is None:
            kept = Put(names.poison(entry.seq), entry.subject.encode() + b"\n" + entry.data, ttl_s=POISON_TTL_S)
            await self._bus.write([kept])
        await self._bus.delete([entry.seq])

    async def _under_caps(self, record: Record) -> bool:
        task = record.task
        caps = {
            f"tenant:{task.tenant}": (self._options.cap_of_tenant(task.tenant), names.leases_in(tenant=task.tenant)),
            f"type:{task.type}": (self._options.cap_of_type(task.type), names.leases_in(type_=task.type)),
        }
        for name, (cap, pattern) in caps.items():
            if cap is not None and name not in self._room:
                # Read before counting: whoever leases under this cap in between replaces it.
                await self._bus.discards.done()
                guard = await self._bus.last(names.cap(name))
                self._room[name] = cap - await self._bus.count(pattern)
                self.picked.guards.append(Put(names.cap(name), b"", 0 if guard is None else guard.seq))
        capped = [name for name, (cap, _) in caps.items() if cap is not None]
        if any(self._room[name] <= 0 for name in capped):
            self._full.add(record.lane)
            self.picked.capped = True
            return False
        for name in capped:
            self._room[name] -= 1
        return True


def _urgency(entry: Stored) -> tuple[str, int]:
    """Priority and age."""
    return entry.subject.split(".")[4], entry.seq


def _is_entry_of(entry: Stored, record: Record) -> bool:
    task = record.task
    return entry.subject == names.waiting(task.route.stream, int(task.priority), record.lane, task.id)
