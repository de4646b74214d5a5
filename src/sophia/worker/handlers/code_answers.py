"""Code in a model's answer: finding it, and parsing what is Python."""

from __future__ import annotations

import re
import warnings

import msgspec

_FENCE = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$", re.MULTILINE)
_PYTHON = frozenset({"python", "py", "python3", "python2.7", "cpython"})


class CodeBlock(msgspec.Struct, frozen=True, kw_only=True):
    language: str
    """As the fence says, lower case; empty when it says nothing."""
    code: str
    closed: bool
    """Whether the closing fence was seen."""


class CodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    blocks: tuple[CodeBlock, ...]
    prose: str
    """Everything outside the blocks."""

    def best(self, language: str) -> CodeBlock | None:
        """The longest block in ``language``, else the longest of all; ``None`` without any code."""
        blocks = [block for block in self.blocks if block.code.strip()]
        named = [block for block in blocks if same_language(block.language, language)]
        return max(named or blocks, key=lambda block: len(block.code), default=None)


def is_python(language: str) -> bool:
    return language.strip().lower() in _PYTHON


def same_language(one: str, other: str) -> bool:
    return one.strip().lower() == other.strip().lower() or (is_python(one) and is_python(other))


def split_answer(text: str) -> CodeAnswer:
    """Fenced blocks and the prose around them, as in CommonMark: a fence is closed by one at least as long, of its kind."""
    blocks: list[CodeBlock] = []
    prose: list[str] = []
    position = 0
    while opening := _FENCE.search(text, position):
        prose.append(text[position : opening.start()])
        closing = _closing(text, opening)
        end = len(text) if closing is None else closing.start()
        language = opening["info"].strip().lower().partition(" ")[0]
        code = text[opening.end() : end].strip("\n").rstrip()
        blocks.append(CodeBlock(language=language, code=code, closed=closing is not None))
        position = end if closing is None else closing.end()
    prose.append(text[position:])
    return CodeAnswer(blocks=tuple(blocks), prose="\n".join(filter(None, (part.strip() for part in prose))))


def _closing(text: str, opening: re.Match[str]) -> re.Match[str] | None:
    for candidate in _FENCE.finditer(text, opening.end()):
        if candidate["fence"].startswith(opening["fence"]) and not candidate["info"].strip():
            return candidate
    return None


def python_error(code: str) -> str | None:
    """Why ``code`` is no program for this Python; ``None`` when it is one. It is compiled, never run."""
    try:
        with warnings.catch_warnings():
            # An odd escape sequence in somebody's code is no concern of our log.
            warnings.simplefilter("ignore")
            # Parses as `ast` does and also finds what the grammar alone allows, such as a `return` outside a function.
            compile(code, "<answer>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        return f"it cannot be parsed: {error or type(error).__name__}"
    return None
