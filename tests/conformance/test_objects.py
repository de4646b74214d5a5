"""The object store contract, over a folder and over a real server that speaks S3's protocol."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sophia.nouns.errors import ObjectDamaged, ObjectMissing, StorageFull, Unavailable
from sophia.nouns.objects import ObjectRef
from sophia.objects.places import open_objects
from sophia.objects.stored import StoredObjects
from tests.support.objects import START_MS, BucketServer, ObjectPlace

DAY_MS = 86_400_000

# The store outlives the examples on purpose: equal values are the same object anyway.
examples = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@examples
@given(body=st.binary(max_size=300_000))
async def test_what_was_put_comes_back(object_store: StoredObjects, body: bytes) -> None:
    ref = await object_store.put(body)
    assert (ref.sha256, ref.bytes, ref.day) == (hashlib.sha256(body).hexdigest(), len(body), "20260101")
    assert await object_store.get(ref) == body


async def test_a_large_value_while_the_loop_stays_free(object_store: StoredObjects) -> None:
    body = os.urandom(24_000_000)
    loop = asyncio.get_running_loop()
    longest_s, last_s = 0.0, loop.time()
    began_s = last_s

    def tick() -> None:
        nonlocal longest_s, last_s
        longest_s, last_s = max(longest_s, loop.time() - last_s), loop.time()
        ticking.append(loop.call_later(0.005, tick))

    ticking: list[asyncio.TimerHandle] = []
    tick()
    ref = await object_store.put(body)
    assert await object_store.get(ref) == body
    ticking[-1].cancel()
    # Copying the bytes is all that the loop's thread does; hashing and writing them take far longer.
    assert longest_s < max(0.15, (loop.time() - began_s) / 4)


async def test_the_same_value_is_one_object_a_day(object_place: ObjectPlace, object_store: StoredObjects) -> None:
    refs = await asyncio.gather(*(object_store.put(b"same") for _ in range(20)))
    assert set(refs) == {refs[0]}
    assert object_place.names() == {refs[0].key}
    object_place.clock.advance(DAY_MS / 1000)
    again = await object_store.put(b"same")
    assert again.key != refs[0].key
    assert await object_store.get(again) == await object_store.get(refs[0]) == b"same"


async def test_another_process_reads_it(object_place: ObjectPlace, object_store: StoredObjects) -> None:
    ref = await object_store.put(b"shared")
    assert await object_place.open().get(ref) == b"shared"


async def test_a_missing_object_is_named(object_store: StoredObjects) -> None:
    await object_store.put(b"something else")
    with pytest.raises(ObjectMissing, match="20260101/0000") as raised:
        await object_store.get(ObjectRef(sha256="0" * 64, bytes=3, day="20260101"))
    assert raised.value.info().code == "object_missing"
    with pytest.raises(ObjectMissing):
        await object_store.get(ObjectRef(sha256="0" * 64, bytes=3, day="20010101"))


@pytest.mark.parametrize("body", [b"whole, but otherwise", b"cut"])
async def test_a_damaged_object_is_never_given_out(
    object_place: ObjectPlace, object_store: StoredObjects, body: bytes
) -> None:
    ref = await object_store.put(b"whole and untouched!")
    (object_place.files / ref.key).write_bytes(body)
    # A server that notices by itself breaks the answer off.
    with pytest.raises((ObjectDamaged, Unavailable), match=f"{ref.key}|in trouble"):
        await object_store.get(ref)
    # Storing it again mends it.
    assert await object_store.put(b"whole and untouched!") == ref
    assert await object_store.get(ref) == b"whole and untouched!"


async def test_old_objects_are_listed_in_order_and_in_parts(
    object_place: ObjectPlace, object_store: StoredObjects
) -> None:
    keys = []
    for _ in range(4):
        refs = await asyncio.gather(*(object_store.put(bytes([number])) for number in range(7)))
        keys += sorted(ref.key for ref in refs)
        object_place.clock.advance(DAY_MS / 1000)
    before_ms = START_MS + 3 * DAY_MS + DAY_MS // 2
    walked: list[str] = []
    while found := await object_store.stored_before(before_ms, walked[-1] if walked else "", 5):
        assert len(found) <= 5
        walked += found
    # The fourth day has not ended by then.
    assert walked == keys[:21]
    assert await object_store.stored_before(START_MS, "", 5) == []


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(
    object_place: ObjectPlace, object_store: StoredObjects
) -> None:
    gone, kept = await object_store.put(b"gone"), await object_store.put(b"kept")
    for _ in range(2):
        await object_store.delete([gone.key])
    with pytest.raises(ObjectMissing):
        await object_store.get(gone)
    assert await object_store.get(kept) == b"kept"
    await object_store.delete([kept.key])
    await object_store.delete([])
    assert await object_store.stored_before(START_MS + 9 * DAY_MS, "", 10) == []
    assert object_place.names() == set()
    assert await object_store.get(await object_store.put(b"again")) == b"again"


async def test_the_empty_store(object_store: StoredObjects) -> None:
    assert await object_store.stored_before(START_MS + 9 * DAY_MS, "", 10) == []
    await object_store.delete([f"20260101/{'0' * 64}"])


class TestFolder:
    async def test_writes_that_were_broken_off_are_no_objects_and_go_with_their_day(self, tmp_path: Path) -> None:
        store = open_objects(None, tmp_path)
        leftover = tmp_path / "objects/20200101" / f"{'a' * 64}#1"
        leftover.parent.mkdir(parents=True)
        leftover.write_bytes(b"half")
        assert await store.stored_before(START_MS, "", 10) == []
        assert not leftover.parent.exists()

    async def test_nobody_else_may_look_in(self, tmp_path: Path) -> None:
        await open_objects(None, tmp_path).put(b"private")
        assert (tmp_path / "objects").stat().st_mode & 0o077 == 0

    async def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "objects").write_text("in the way")
        with pytest.raises(Unavailable, match="object folder"):
            await open_objects(None, tmp_path).put(b"x")

    async def test_a_folder_that_vanished_is_made_again(self, tmp_path: Path) -> None:
        store = open_objects(None, tmp_path)
        await store.put(b"one")
        (tmp_path / "objects").rename(tmp_path / "elsewhere")
        assert await store.get(await store.put(b"two")) == b"two"

    async def test_a_full_disk(self, megabyte_disk: Path) -> None:
        store = open_objects(None, megabyte_disk)
        with pytest.raises(StorageFull, match="no room"):
            await store.put(os.urandom(3_000_000))
        assert await store.get(await store.put(b"small")) == b"small"


class TestBucket:
    async def test_wrong_secrets_are_named_and_not_shown(self, bucket_server: BucketServer, tmp_path: Path) -> None:
        wrong = bucket_server.settings(bucket_server.bucket(), secret_access_key="wrong-and-private")
        with pytest.raises(Unavailable, match="refuses access") as raised:
            await open_objects(wrong, tmp_path).put(b"x")
        assert "objects.secret_access_key" in str(raised.value.mend)
        assert "wrong-and-private" not in raised.value.message

    async def test_variables_for_other_programs_change_nothing(
        self, bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "somebody-elses")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        store = open_objects(bucket_server.settings(bucket_server.bucket()), tmp_path)
        assert await store.get(await store.put(b"x")) == b"x"

    async def test_a_bucket_that_is_not_there(self, bucket_server: BucketServer, tmp_path: Path) -> None:
        store = open_objects(bucket_server.settings("no-such-bucket"), tmp_path)
        for call in (
            store.put(b"x"),
            store.get(ObjectRef(sha256="0" * 64, bytes=1, day="20260101")),
            store.stored_before(START_MS, "", 1),
        ):
            with pytest.raises(Unavailable, match="'no-such-bucket' does not exist"):
                await call

    async def test_a_server_that_is_away_and_comes_back(self, tmp_path: Path) -> None:
        server = BucketServer(tmp_path / "data")
        server.start()
        try:
            store = open_objects(server.settings(server.bucket()), tmp_path)
            ref = await store.put(b"x")
            server.stop()
            async with asyncio.timeout(30):
                for call in (store.get(ref), store.put(b"y"), store.delete([ref.key])):
                    with pytest.raises(Unavailable):
                        await call
            server.start()
            assert await store.get(ref) == b"x"
        finally:
            server.stop()

    async def test_without_a_prefix(self, bucket_server: BucketServer, tmp_path: Path) -> None:
        bucket = bucket_server.bucket()
        plain = msgspec.structs.replace(bucket_server.settings(bucket), prefix="")
        ref = await open_objects(plain, tmp_path).put(b"x")
        assert (bucket_server.root / bucket / ref.key).read_bytes() == b"x"
