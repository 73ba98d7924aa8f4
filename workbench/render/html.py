"""A document as one HTML file that needs nothing else: no request, the same bytes for the same document.

A page has no script, except one that holds a table to look through: then it has ours, which its policy knows by its digest.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.resources import files

from workbench.render import html_parts
from workbench.render.escape import markup
from workbench.render.scene import Browse, Details, Document, Part, Section

# Nothing is loaded from anywhere, and no script runs even if one got in.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_NAVIGATION_FROM = 3  # sections
_LONG_TITLE = 60  # characters from which a title is set small: a deep model's pattern


def render(document: Document) -> str:
    """The whole page."""
    names = [f"section-{number}" for number, part in enumerate(document.parts) if isinstance(part, Section)]
    sections = [part for part in document.parts if isinstance(part, Section)]
    links = "".join(
        f'<li><a href="#{name}">{markup(part.title)}</a></li>' for name, part in zip(names, sections, strict=True)
    )
    navigation = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(sections) >= _NAVIGATION_FROM else ""
    body = "\n".join(
        html_parts.section(part, 2, name=f"section-{number}")
        if isinstance(part, Section)
        else html_parts.render(part, 2)
        for number, part in enumerate(document.parts)
    )
    looked_through = _looked_through(document.parts)
    script = f"\n<script>{_script()}</script>" if looked_through else ""
    policy = f"{POLICY}; script-src 'sha256-{_digest(_script())}'" if looked_through else POLICY
    title = markup(document.title)
    kind = markup(document.kind)
    heading = f"<code>{title}</code>" if document.code else title
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{markup(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{f"{kind}: {title}" if kind else title}</title>
<style>
{_style(looked_through)}</style>
</head>
<body>
<header>
<p class="kind">Hybrid Workbench{f" · {kind}" if kind else ""}</p>
<h1{' class="long"' if len(document.title) > _LONG_TITLE else ""}>{heading}</h1>
{navigation}
</header>
<main>
{body}
</main>{script}
</body>
</html>
"""


def _looked_through(parts: Iterable[Part]) -> bool:
    return any(
        isinstance(part, Browse) or (isinstance(part, Section | Details) and _looked_through(part.parts))
        for part in parts
    )


@cache
def _style(looked_through: bool) -> str:
    return asset("report.css") + (asset("browse.css") if looked_through else "")


@cache
def _script() -> str:
    """Its names stay its own."""
    source = "".join(map(asset, ("elements.js", "browse.js", "page.js")))
    assert "</" not in source, "a script ends where its element ends"
    return f'"use strict";\n{{\n{source}}}\n'


def _digest(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()


def asset(name: str) -> str:
    """A style sheet or a script of `assets/`; those of the notebook's widgets are partly the same."""
    return (files("workbench.render") / "assets" / name).read_text(encoding="utf-8")
