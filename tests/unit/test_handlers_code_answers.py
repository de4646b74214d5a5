"""Finding code in answers, and parsing what is Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia.worker.handlers.code_answers import is_python, python_error, split_answer


def test_code_and_explanation_are_told_apart() -> None:
    answer = split_answer("Here it is:\n```python\ndef f():\n    return 1\n```\nIt returns one.")
    assert [(block.language, block.code, block.closed) for block in answer.blocks] == [
        ("python", "def f():\n    return 1", True)
    ]
    assert answer.prose == "Here it is:\nIt returns one."


def test_the_longest_block_of_the_language_asked_for_is_the_code() -> None:
    answer = split_answer("```bash\npip install a-rather-long-package-name\n```\n```py\nx = 1\n```\n```py\nx\n```")
    best = answer.best("python")
    assert best is not None
    assert best.code == "x = 1"


def test_a_block_in_another_language_is_better_than_none() -> None:
    best = split_answer("```\nSELECT 1\n```").best("sql")
    assert best is not None
    assert best.code == "SELECT 1"


def test_a_fence_that_is_never_closed_is_told() -> None:
    (block,) = split_answer("```go\nfunc main() {").blocks
    assert not block.closed
    assert block.code == "func main() {"


def test_shorter_and_other_fences_inside_a_block_belong_to_it() -> None:
    (block,) = split_answer("````markdown\n```python\nx\n```\n~~~\n````\n").blocks
    assert block.code == "```python\nx\n```\n~~~"


def test_no_fence_no_code() -> None:
    answer = split_answer("I cannot help with that.")
    assert answer.best("python") is None
    assert answer.prose == "I cannot help with that."


def test_an_empty_block_is_no_code() -> None:
    assert split_answer("```python\n\n```").best("python") is None


@given(st.text())
def test_any_text_splits(text: str) -> None:
    split_answer(text)


@given(st.text(alphabet=st.characters(blacklist_characters="`~\r", blacklist_categories=["Cs"])))
def test_what_is_between_fences_is_kept(code: str) -> None:
    (block,) = split_answer(f"```\n{code}\n```").blocks
    assert block.code == code.strip("\n").rstrip()


@pytest.mark.parametrize("code", ["def f(:\n  pass", "x = = 1", "return", "print 'hello'"])
def test_what_is_not_python_is_said_with_its_line(code: str) -> None:
    error = python_error(code)
    assert error is not None
    assert error.startswith("line 1: ")


@pytest.mark.parametrize("code", ["x = 1", "import re\nre.match('\\d', 'x')", "async def f():\n    await g()"])
def test_python_parses_without_a_warning(code: str) -> None:
    assert python_error(code) is None


@pytest.mark.parametrize("code", ["x = '\0'", "(" * 5000 + ")" * 5000])
def test_code_that_upsets_the_parser_is_an_error_of_the_code(code: str) -> None:
    assert python_error(code) is not None


def test_names_of_python() -> None:
    assert is_python("Python")
    assert is_python(" py ")
    assert not is_python("javascript")
