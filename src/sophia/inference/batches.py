"""Which texts go through a model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indexes of texts to run together: of like length, so that little is padding, and ``max_tokens`` at most with it."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
