"""A task's result as people want to read it, by type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sophia.cli.output import clean, one_line

if TYPE_CHECKING:
    from rich.console import Console

Result = dict[str, Any]


def show_result(console: Console, task_type: str, result: Any) -> None:
    """Print it; a type or a shape that is not known is printed as JSON."""
    show = _BY_TYPE.get(task_type)
    if show is None or not isinstance(result, dict):
        _as_json(console, result)
        return
    show(console, result)


def _plan(console: Console, result: Result) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(clean(result["goal"]), style="bold"))
    for step in result["steps"]:
        line = Text(f"{step['id']:>3}. ", style="cyan").append(clean(step["title"]), style="bold default")
        if step["depends_on"]:
            line.append(f"  after {', '.join(map(str, step['depends_on']))}", style="dim")
        console.print(line)
        if step["description"]:
            console.print(Padding(Text(clean(step["description"])), (0, 0, 0, 5), expand=False))


def _code(console: Console, result: Result) -> None:
    from rich.syntax import Syntax

    code = clean(result["code"]).rstrip()
    if console.is_terminal:
        console.print(Syntax(code, result["language"], background_color="default", word_wrap=True))
    else:
        console.print(code, soft_wrap=True)
    if result["explanation"]:
        console.print()
        console.print(clean(result["explanation"]), soft_wrap=True)
    if result["syntax_error"]:
        console.print(f"\ndoes not parse: {clean(result['syntax_error'])}", style="yellow")
    elif result["syntax_checked"]:
        console.print(f"\n{result['language']}: parses", style="dim")


def _answer(console: Console, result: Result) -> None:
    console.print(clean(result["answer"]), soft_wrap=True)
    if not result["sources"]:
        return
    console.print("\nSources", style="bold")
    cited = set(result["citations"])
    for source in result["sources"]:
        name = one_line(source["title"], 80) or source["url"]
        console.print(f"{'*' if source['number'] in cited else ' '}[{source['number']}] {name}", soft_wrap=True)
        console.print(f"     {clean(source['url'])}", style="dim", soft_wrap=True)
        if source["error"]:
            console.print(f"     not used: {one_line(source['error'], 200)}", style="yellow", soft_wrap=True)
    if cited:
        console.print("* cited in the answer", style="dim")


def _embeddings(console: Console, result: Result) -> None:
    console.print(
        f"{result['count']:,} vectors of {result['dimensions']:,} dimensions by {result['model']}"
        f" ({result['encoding']}, {result['tokens']:,} tokens)"
    )
    if result["truncated"]:
        console.print(f"{result['truncated']:,} texts were cut at the model's length", style="yellow")
    first = result["vectors"][0] if result["vectors"] else None
    if isinstance(first, list):
        console.print(f"first: [{', '.join(f'{value:.4f}' for value in first[:6])}, …]", style="dim")
    console.print("--json prints them all", style="dim")


def _text(console: Console, result: Result) -> None:
    console.print(clean(result["text"]), soft_wrap=True)
    if result["finish_reason"] == "length":
        console.print("(cut at the token limit; --max-tokens raises it)", style="yellow")


def _as_json(console: Console, result: Any) -> None:
    import msgspec

    console.print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode(), soft_wrap=True)


_BY_TYPE: dict[str, Callable[[Console, Result], None]] = {
    "long_planning": _plan,
    "code_generation": _code,
    "web_research": _answer,
    "batch_embedding": _embeddings,
    "light": _text,
}
