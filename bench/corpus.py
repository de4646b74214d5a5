"""English prose for measurements of embedders: what the documentation of Python's standard library says, read from the
interpreter that runs. Nothing of it is kept in this project."""

from __future__ import annotations

import ast
import os
import pydoc_data.topics
import random
import re
from collections.abc import Iterator
from pathlib import Path

_WORD = re.compile(r"[(\"'*`]*[A-Za-z][A-Za-z'-]*[)\"'*`.,:;!?]*")
_LEFT_OUT = ("site-packages", "dist-packages", "test", "idlelib", "lib2to3")


def paragraphs() -> list[str]:
    """Of docstrings and of the language reference, each once, without tables and code."""
    found: dict[str, None] = {}
    for text in _documentation():
        for paragraph in re.split(r"\n\s*\n", text):
            words = paragraph.split()
            if len(words) >= 8 and sum(map(bool, map(_WORD.fullmatch, words))) >= 0.8 * len(words):
                found[" ".join(words)] = None
    return list(found)


def mixed_texts(paragraphs: list[str], count: int, seed: int = 7) -> list[str]:
    """Texts of 20 to 300 words, every length as often as every other."""
    chance = random.Random(seed)
    shuffled = chance.sample(paragraphs, len(paragraphs))
    words = " ".join(shuffled).split()
    texts = []
    for _ in range(count):
        length = chance.randint(20, 300)
        start = chance.randrange(len(words) - length)
        texts.append(" ".join(words[start : start + length]))
    return texts


def retrieval_set(paragraphs: list[str], queries: int, documents: int, seed: int = 7) -> tuple[list[str], list[str]]:
    """Different paragraphs as queries and as what they are looked up in."""
    shuffled = random.Random(seed).sample(paragraphs, len(paragraphs))
    return shuffled[:queries], shuffled[queries : queries + documents]


def _documentation() -> Iterator[str]:
    for name in sorted(pydoc_data.topics.topics):
        yield pydoc_data.topics.topics[name]
    library = Path(os.__file__).parent
    for file in sorted(library.rglob("*.py")):
        if file.relative_to(library).parts[0] in _LEFT_OUT or "test" in file.parts:
            continue
        try:
            tree = ast.parse(file.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # files that are meant not to be read
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""
