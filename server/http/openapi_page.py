"""Renders the OpenAPI schema as one HTML page: no script, no CDN, so it works offline and under the strictest CSP."""

from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
section{border:1px solid var(--line);border-radius:.5rem;margin:1rem 0;padding:.2rem 1rem}
h2{font-size:1.05rem} code,pre{font:.85rem/1.5 ui-monospace,monospace;background:var(--soft);border-radius:.3rem}
code{padding:.1rem .3rem} pre{padding:.6rem;overflow:auto} .method{font-weight:700;margin-right:.6rem}
table{border-collapse:collapse;width:100%}
td,th{border-top:1px solid var(--line);padding:.3rem .5rem;text-align:left;vertical-align:top}
"""


def render(schema: dict[str, Any]) -> str:
    """Returns HTML of an OpenAPI 3 schema: each operation with its body, answers and a curl line, then each model."""
    info = schema["info"]
    operations = [
        _operation(path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    models = [_model(name, model) for name, model in schema.get("components", {}).get("schemas", {}).items()]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="icon.svg">'
        f"<title>{escape(info['title'])}: API</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>Machine-readable: <a href="openapi.json">openapi.json</a></p>'
        f"{''.join(operations)}<h1>Models</h1>{''.join(models)}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code><td>{escape(answer.get('description', ''))}<td>{_content(answer)}"
        for status, answer in operation.get("responses", {}).items()
    )
    body = operation.get("requestBody")
    sends = f"<p>Send: {_content(body)}</p>" if body else ""
    curl = f"curl {'-F file=@FILE ' if body else ''}http://HOST:PORT{path}"
    return (
        f'<section><h2><span class="method">{escape(method.upper())}</span><code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</h2><p>{escape(operation.get('description', ''))}</p>{sends}"
        f"<table><tr><th>Status<th>Meaning<th>Content{rows}</table><pre>{escape(curl)}</pre></section>"
    )


def _content(part: dict[str, Any]) -> str:
    return ", ".join(
        f"<code>{escape(kind)}</code> {_type(media.get('schema', {}))}"
        for kind, media in part.get("content", {}).items()
    )


def _model(name: str, model: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(value)}<td>{escape(value.get('description', ''))}"
        for field, value in model.get("properties", {}).items()
    )
    return (
        f'<section id="{escape(name)}"><h2><code>{escape(name)}</code></h2>'
        f"<p>{escape(model.get('description', ''))}</p><table><tr><th>Field<th>Type<th>Meaning{rows}</table></section>"
    )


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    for key, word in (("anyOf", " or "), ("oneOf", " or "), ("prefixItems", ", ")):
        if key in schema:
            return word.join(_type(option) for option in schema[key])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    limits = [f"{sign} {schema[key]:g}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    return escape(" ".join([str(schema.get("type", "any")), *limits]))
