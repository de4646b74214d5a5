"""Which replica takes a call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sophia.decisions.replicas import (
    IMBALANCE,
    SLACK_TOKENS,
    Replica,
    affinity_of,
    choose,
    cost_tokens,
)

IDS = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)
LOADS = st.dictionaries(
    st.text("abcdef0123456789", min_size=1, max_size=6), st.integers(0, 100_000), min_size=1, max_size=8
)


def replicas(loads: dict[str, int]) -> list[Replica]:
    return [Replica(id=id, outstanding_tokens=tokens) for id, tokens in loads.items()]


@given(IDS, st.text(min_size=1))
def test_the_same_beginning_goes_to_the_same_replica_whoever_else_leaves(ids: list[str], affinity: str):
    idle = dict.fromkeys(ids, 0)
    chosen = choose(replicas(idle), affinity, 100)
    assert chosen in ids
    for gone in ids:
        rest = {id: 0 for id in reversed(ids) if id != gone}
        if gone != chosen:
            assert choose(replicas(rest), affinity, 100) == chosen


@given(LOADS, st.text(), st.integers(0, 10_000))
def test_nobody_is_overrun(loads: dict[str, int], affinity: str, cost: int):
    chosen = choose(replicas(loads), affinity, cost)
    assert chosen is not None
    bound = max(SLACK_TOKENS, IMBALANCE * (sum(loads.values()) + cost) / len(loads))
    within = {id for id, tokens in loads.items() if tokens + cost <= bound}
    if affinity and within:
        assert chosen in within
    else:
        assert loads[chosen] == min(loads.values())


def test_nobody_to_choose_from():
    assert choose([], "x", 1) is None


def test_beginnings():
    system = {"role": "system", "content": "s" * 3000}
    short = {"role": "system", "content": "Be brief."}
    one, two = ({"role": "user", "content": [{"type": "text", "text": text}]} for text in ("one", "two"))
    answered = [{"role": "assistant", "content": "1"}, {"role": "user", "content": "and?"}]
    assert affinity_of({"messages": [system, one]}) == affinity_of({"messages": [system, two]})
    assert affinity_of({"messages": [short, one]}) != affinity_of({"messages": [short, two]})
    assert affinity_of({"messages": [short, one]}) == affinity_of({"messages": [short, one, *answered]})
    assert affinity_of({"messages": [short, one], "prompt_cache_key": "k"}) == "k"
    assert cost_tokens({"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 50}) == 150


@given(
    st.dictionaries(
        st.sampled_from(["messages", "max_tokens", "prompt_cache_key", "input"]),
        st.recursive(
            st.none() | st.integers(0, 9) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner),
            max_leaves=8,
        ),
    )
)
def test_odd_bodies_are_taken_too(body: dict[str, object]):
    if not isinstance(body.get("messages"), list):
        body.pop("messages", None)
    assert isinstance(affinity_of(body), str)
    assert cost_tokens(body) >= 0
