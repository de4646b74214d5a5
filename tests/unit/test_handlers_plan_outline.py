"""Reading a numbered list as a plan's draft."""

from __future__ import annotations

import pytest

from sophia.worker.handlers.plan_outline import EXAMPLE_OUTLINE, read_outline


def titles(text: str, max_steps: int = 8, *, cut_short: bool = False) -> list[str]:
    return [step.title for step in read_outline(text, max_steps, cut_short=cut_short).steps]


def test_the_colon_parts_title_and_description() -> None:
    draft = read_outline(EXAMPLE_OUTLINE, 8, cut_short=False)
    assert [(step.id, step.title) for step in draft.steps[:2]] == [(1, "Choose a paint"), (2, "Buy brushes and paint")]
    assert len(draft.steps) == 5
    assert draft.steps[2].description == "brush off dirt and sand the rough places."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Here is a plan:\n\n1. Start\n\n   by looking around\n2) **Go on**: now\n\nGood luck!", ["Start", "Go on"]),
        ("1. Same: a\n2. same: A\n3. Other: b", ["Same", "Other"]),
        ("1. One\n2. Two\n\nOr else:\n1. Three", ["One", "Two"]),
        ("1. One\n2. Two\n4. Four", ["One", "Two"]),
        ("2. Two\n3. Three", []),
        ("no list at all", []),
        ("", []),
    ],
)
def test_what_counts_as_a_step(text: str, expected: list[str]) -> None:
    assert titles(text) == expected


def test_no_more_than_asked_for() -> None:
    assert titles("\n".join(f"{n}. Step {n}" for n in range(1, 30)), 4) == [f"Step {n}" for n in range(1, 5)]


def test_an_unfinished_last_line_is_left_out() -> None:
    assert titles("1. One\n2. Two\n3. Thr", cut_short=True) == ["One", "Two"]
    assert titles("1. On", cut_short=True) == ["On"]
    assert titles("1. One\n2. Two\n\nand some more words", cut_short=True) == ["One", "Two"]


def test_a_line_without_colon_that_is_too_long_for_a_title_stays_whole_in_the_description() -> None:
    line = "Look " * 40
    (step,) = read_outline(f"1. {line}", 8, cut_short=False).steps
    assert len(step.title) <= 80
    assert step.title.endswith("…")
    assert step.description == line.strip()
