"""``code_generation``: code with its language and an explanation; Python is parsed before it is returned."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.inference.base import ChatAnswer
from sophia.nouns.errors import InvalidResult
from sophia.nouns.payloads import CodeGeneration, GeneratedCode
from sophia.worker.context import TaskContext
from sophia.worker.handlers.code_answers import is_python, python_error, split_answer

SYSTEM = (
    "You write correct, complete {language} code. "
    "Answer with one fenced code block, then explain the code in one or two sentences."
)
EXPLANATION_TOKENS = 120


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the model, read. ``fault`` is what it should mend, in words; empty when nothing."""

    code: str
    explanation: str
    fault: str


async def run(context: TaskContext, payload: CodeGeneration) -> GeneratedCode:
    """Code that is not empty, else ``InvalidResult``. One repair round tells the model what is wrong; what is still
    wrong after it stands in ``syntax_error``."""
    messages = _messages(payload)
    answer = await _ask(context, payload, messages)
    best = _read(answer, payload.language)
    if best.fault:
        await context.progress(1, 2, f"repairing: {best.fault}")
        messages = [
            *messages,
            {"role": "assistant", "content": answer.text},
            {
                "role": "user",
                "content": f"That was wrong: {best.fault}. Write the whole answer again, mended and no longer than needed.",
            },
        ]
        second = await _ask(context, payload, messages)
        best = _better(best, _read(second, payload.language))
    if not best.code:
        raise InvalidResult(f"{answer.model} gave no code: {best.fault}")
    explanation = best.explanation or await _explain(context, payload, best.code)
    return GeneratedCode(
        language=payload.language,
        code=best.code,
        explanation=explanation,
        syntax_checked=is_python(payload.language),
        syntax_error=best.fault or None,
        model=answer.model,
    )


def _messages(payload: CodeGeneration) -> list[dict[str, Any]]:
    request = payload.prompt
    if payload.context:
        request = f"{payload.prompt}\n\nContext:\n{payload.context}"
    return [
        {"role": "system", "content": SYSTEM.format(language=payload.language)},
        {"role": "user", "content": request},
    ]


async def _ask(context: TaskContext, payload: CodeGeneration, messages: list[dict[str, Any]]) -> ChatAnswer:
    return await context.chat(
        messages, model=payload.model, max_tokens=payload.max_tokens, temperature=payload.temperature
    )


async def _explain(context: TaskContext, payload: CodeGeneration, code: str) -> str:
    """A model that gave nothing but code is asked once what it does."""
    question = f"Explain in one or two sentences what this {payload.language} code does:\n\n{code}"
    answer = await context.chat(
        [{"role": "user", "content": question}], model=payload.model, max_tokens=EXPLANATION_TOKENS, show=False
    )
    return split_answer(answer.text).prose


def _read(answer: ChatAnswer, language: str) -> _Candidate:
    parts = split_answer(answer.text)
    block = parts.best(language)
    if block is None:
        return _bare(answer.text, language)
    fault = (python_error(block.code) or "") if is_python(language) else ""
    if not block.closed and answer.finish_reason == "length":
        fault = "; ".join(filter(None, ("the code was cut off at the token limit", fault)))
    return _Candidate(code=block.code, explanation=parts.prose, fault=fault)


def _bare(text: str, language: str) -> _Candidate:
    """An answer without a fence is code only if it surely is: several lines that parse as Python."""
    code = text.strip()
    if is_python(language) and "\n" in code and python_error(code) is None:
        return _Candidate(code=code, explanation="", fault="")
    return _Candidate(code="", explanation="", fault="the answer has no fenced code block")


def _better(first: _Candidate, second: _Candidate) -> _Candidate:
    """The second answer when it mends the first; else the first one that has code."""
    if second.code and (not second.fault or not first.code):
        return second
    return first
