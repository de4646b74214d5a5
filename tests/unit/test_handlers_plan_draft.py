"""Plans as models write them: what is refused, and what is put in order."""

from __future__ import annotations

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.worker.handlers.plan_draft import (
    Draft,
    DraftStep,
    dependency_faults,
    dependency_schema,
    ordered,
    plan_schema,
    size_for,
    step_faults,
    with_dependencies,
    without_repeats,
)


def draft(*steps: tuple[int, str, list[int]]) -> Draft:
    return Draft(
        steps=[DraftStep(id=n, title=title, description=f"do {title}", depends_on=needs) for n, title, needs in steps]
    )


@st.composite
def acyclic_drafts(draw: st.DrawFn) -> Draft:
    """Any order on the page, any ids, no cycle."""
    ids = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=12, unique=True))
    steps = []
    for place, number in enumerate(ids):
        earlier = ids[:place]
        needs = draw(st.lists(st.sampled_from(earlier), max_size=4)) if earlier else []
        steps.append(DraftStep(id=number, title=f"step {number}", description=f"of {number}", depends_on=needs))
    return Draft(steps=draw(st.permutations(steps)))


@given(acyclic_drafts())
def test_every_acyclic_draft_becomes_a_plan_in_which_each_step_follows_those_it_needs(given_draft: Draft) -> None:
    assert dependency_faults(given_draft) == []
    steps = ordered(given_draft)
    assert [step.id for step in steps] == list(range(1, len(steps) + 1))
    assert all(needed < step.id for step in steps for needed in step.depends_on)
    titles = {step.id: step.title for step in steps}
    original = {step.title: {f"step {needed}" for needed in step.depends_on} for step in given_draft.steps}
    assert {step.title: {titles[needed] for needed in step.depends_on} for step in steps} == original


@given(st.lists(st.tuples(st.integers(1, 6), st.lists(st.integers(1, 6), max_size=4)), min_size=1, max_size=6))
def test_any_draft_is_either_faulty_or_sorted(steps: list[tuple[int, list[int]]]) -> None:
    any_draft = draft(*((number, f"title {index}", needs) for index, (number, needs) in enumerate(steps)))
    if not dependency_faults(any_draft):
        assert len(ordered(any_draft)) == len(steps)


def test_steps_that_are_in_order_stay_as_they_were_written() -> None:
    steps = ordered(draft((1, "a", []), (2, "b", []), (3, "c", [1])))
    assert [step.title for step in steps] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (draft((1, "a", [2]), (2, "b", [1])), "steps 1, 2 wait for each other"),
        (draft((1, "a", [1])), "step 1 depends on itself"),
        (draft((1, "a", []), (1, "b", [])), "2 steps have the id 1"),
        (draft((1, "a", [7])), "step 1 depends on 7, which the plan does not have"),
    ],
)
def test_dependencies_that_cannot_be_honoured_are_named(faulty: Draft, words: str) -> None:
    assert dependency_faults(faulty) == [words]


def test_steps_without_a_title_and_plans_without_or_with_too_many_steps_are_refused() -> None:
    assert step_faults(draft((1, "  ", [])), 5) == ["step 1 has an empty title"]
    assert step_faults(Draft(steps=[]), 5) == ["the plan has no steps"]
    assert step_faults(draft((1, "a", []), (2, "b", [])), 1) == ["the plan has 2 steps, at most 1 are allowed"]
    assert step_faults(draft((1, "a", [])), 1) == []


def test_repeated_steps_become_one_and_what_depended_on_the_repeat_depends_on_the_first() -> None:
    merged = without_repeats(
        Draft(
            steps=[
                DraftStep(id=1, title="Buy", description="x"),
                DraftStep(id=2, title="buy ", description="X", depends_on=[1]),
                DraftStep(id=3, title="Use", description="y", depends_on=[2]),
            ]
        )
    )
    assert [(step.id, step.depends_on) for step in merged.steps] == [(1, []), (3, [1])]
    assert dependency_faults(merged) == []


def test_a_step_that_depends_on_itself_stays_faulty_when_repeats_are_merged() -> None:
    assert dependency_faults(without_repeats(draft((1, "a", [1]))))


def test_steps_with_ambiguous_ids_are_not_merged() -> None:
    ambiguous = draft((1, "a", []), (1, "a", []))
    assert without_repeats(ambiguous) == ambiguous


@given(st.integers(2, 12), st.data())
def test_whatever_the_dependency_schema_lets_through_is_a_valid_plan(count: int, data: st.DataObject) -> None:
    schema = dependency_schema(count)
    jsonschema.Draft202012Validator.check_schema(schema)
    chosen = {
        key: data.draw(st.lists(st.sampled_from(form["items"]["enum"]), max_size=form["maxItems"]))
        for key, form in schema["properties"].items()
    }
    jsonschema.validate(chosen, schema)
    steps = draft(*((1, f"t{n}", []) for n in range(count)))
    assert dependency_faults(with_dependencies(steps, {int(key): value for key, value in chosen.items()})) == []


@given(st.integers(1, 50), st.integers(1, 128_000))
def test_a_plan_of_full_size_fits_the_tokens_unless_even_one_step_does_not(max_steps: int, max_tokens: int) -> None:
    size = size_for(max_steps, max_tokens)
    assert 1 <= size.steps <= max_steps
    # 60 tokens of frame and title a step, and a token for every three characters of its description.
    assert size.steps == 1 or size.steps * (60 + size.description // 3) <= max_tokens


def test_the_plan_schema_takes_the_plans_that_decode() -> None:
    schema = plan_schema(size_for(4, 1000))
    jsonschema.Draft202012Validator.check_schema(schema)
    plan = draft((1, "first", []), (2, "second", [1]))
    jsonschema.validate(msgspec.to_builtins(plan), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(msgspec.to_builtins(Draft(steps=[])), schema)
