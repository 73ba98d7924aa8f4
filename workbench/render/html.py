"""A document as one HTML file that needs nothing else: no script, no request, the same bytes for the same document."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from workbench.render import html_parts
from workbench.render.escape import markup
from workbench.render.scene import Document, Section

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
    title = markup(document.title)
    kind = markup(document.kind)
    heading = f"<code>{title}</code>" if document.code else title
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{markup(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{f"{kind}: {title}" if kind else title}</title>
<style>
{_style()}</style>
</head>
<body>
<header>
<p class="kind">Hybrid Workbench{f" · {kind}" if kind else ""}</p>
<h1{' class="long"' if len(document.title) > _LONG_TITLE else ""}>{heading}</h1>
{navigation}
</header>
<main>
{body}
</main>
</body>
</html>
"""


@cache
def _style() -> str:
    return (files("workbench.render") / "assets" / "report.css").read_text(encoding="utf-8")
