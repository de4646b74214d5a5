"""The documentation page: the OpenAPI document as one HTML page, with nothing to load and no script."""

from __future__ import annotations

import html
import json
import re
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:#2563eb}
@media(prefers-color-scheme:dark){:root{--link:#7aa2ff}}
body{font:15px/1.55 system-ui,sans-serif;margin:0;display:grid;grid-template-columns:16rem minmax(0,1fr)}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1.2rem;border-right:1px solid var(--line);font-size:13px;box-sizing:border-box}
nav ul{list-style:none;padding:0;margin:.2rem 0 1rem}nav li{margin:.25rem 0}
main{padding:1.2rem 2rem 6rem;max-width:62rem}a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
code,pre{font:13px/1.45 ui-monospace,monospace;background:var(--soft);border-radius:4px}code{padding:.1em .3em}
pre{padding:.8rem;overflow:auto}h1{margin-top:0}h2{margin-top:3rem;border-bottom:1px solid var(--line)}
section{margin:1.6rem 0}h3{margin-bottom:.2rem}table{border-collapse:collapse;width:100%;font-size:14px}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid var(--line);padding:.35rem .6rem .35rem 0}
.m{display:inline-block;min-width:3.2rem;font-weight:700;font-size:12px}.q{opacity:.7;font-size:13px}
@media(max-width:50rem){body{grid-template-columns:1fr}nav{position:static;height:auto;border:0}}
"""
_SCHEMA = "#/components/schemas/"


def render(document: dict[str, Any]) -> str:
    """One self-contained page."""
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    menu, body = [], []
    for tag in document["tags"]:
        menu.append(f"<strong>{_text(tag['name'])}</strong><ul>")
        body.append(f"<h2>{_text(tag['name'])}</h2><p>{_markdown(tag['description'])}</p>")
        for path, method, operation in operations:
            if operation["tags"] == [tag["name"]]:
                menu.append(f"<li><a href='#{operation['operationId']}'>{_method(method)} {_text(path)}</a></li>")
                body.append(_operation(path, method, operation))
        menu.append("</ul>")
    body.append("<h2>Shapes</h2>")
    menu.append("<strong>Shapes</strong><ul>")
    for name, schema in sorted(document["components"]["schemas"].items()):
        menu.append(f"<li><a href='#{name}'>{name}</a></li>")
        body.append(_schema(name, schema))
    menu.append("</ul>")
    info = document["info"]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<nav>{''.join(menu)}</nav><main><h1>{_text(info['title'])} API {_text(info['version'])}</h1>"
        f"<p>{_markdown(info['description'])} This page as data: <a href='/openapi.json'>/openapi.json</a>.</p>"
        "<p>All but the service paths need <code>Authorization: Bearer YOUR_API_KEY</code>.</p>"
        f"{''.join(body)}</main></body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f"<section id='{operation['operationId']}'><h3>{_method(method)} <code>{_text(path)}</code></h3>",
        f"<p>{_markdown(operation['summary'])}. {_markdown(operation.get('description', ''))}</p>",
    ]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><td><code>{_text(entry['name'])}</code><br><span class='q'>{entry['in']}</span></td>"
            f"<td>{_type(entry['schema'])}</td><td>{_markdown(entry.get('description', ''))}</td></tr>"
            for entry in parameters
        )
        parts.append(f"<table>{rows}</table>")
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_content(operation['requestBody']['content'])}</p>")
    rows = "".join(
        f"<tr><td><code>{status}</code></td><td>{_markdown(answer['description'])}</td>"
        f"<td>{_content(answer.get('content', {}))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<table>{rows}</table></section>")
    return "".join(parts)


def _schema(name: str, schema: dict[str, Any]) -> str:
    parts = [f"<section id='{name}'><h3>{name}</h3><p>{_markdown(schema.get('description', ''))}</p>"]
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{_text(field)}</code>{'' if field in required else ' <span class=q>optional</span>'}</td>"
        f"<td>{_type(part)}</td><td>{_markdown(part.get('description', ''))}{_default(part)}</td></tr>"
        for field, part in schema.get("properties", {}).items()
    )
    parts.append(f"<table>{rows}</table>" if rows else f"<p>{_type(schema)}</p>")
    parts.append("</section>")
    return "".join(parts)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMA)
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " · ".join(f"<code>{_text(value)}</code>" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [
        f"{words} {schema[key]:,}"
        for key, words in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
            ("minLength", "length ≥"),
            ("maxLength", "length ≤"),
        )
        if key in schema
    ]
    shown = schema.get("format", kind)
    return _text(f"{shown} ({', '.join(bounds)})" if bounds else shown)


def _content(content: dict[str, Any]) -> str:
    return "<br>".join(
        f"{_type(media['schema'])} <span class='q'>{_text(name)}</span>" for name, media in content.items()
    )


def _default(schema: dict[str, Any]) -> str:
    if schema.get("default") in (None, {}, [], ""):
        return ""
    return f" <span class='q'>default <code>{_text(json.dumps(schema['default']))}</code></span>"


def _method(method: str) -> str:
    return f"<span class='m'>{method.upper()}</span>"


def _markdown(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(value: object) -> str:
    return html.escape(str(value))
