"""The files that the editor hands out: the strip as SVG (which the page turns into PNG), the design review as HTML."""

from __future__ import annotations

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.summary import estimate
from workbench.errors import WorkbenchError, check_choice
from workbench.pattern.model import Pattern
from workbench.render import html
from workbench.render.strip import svg
from workbench.views import pattern as pattern_view
from workbench.views import report

FORMS = ("svg", "png", "report")


def exported(pattern: Pattern, sizes: ModelSizes, form: str) -> dict[str, str]:
    """`name` and `text` of a file. For "png" the text is the picture as SVG: a browser draws it best itself.

    The review of a pattern whose cost cannot be counted says what the pattern alone says.
    """
    check_choice("form", form, FORMS)
    if form != "report":
        if not pattern.sublayers and pattern.mtp is None:
            raise WorkbenchError("an empty pattern has no picture")
        return {"name": f"pattern.{form}", "text": svg(pattern_view.strip(pattern), "light", ground=True)}
    try:
        document = report.document(estimate(Architecture(pattern, sizes)))
    except WorkbenchError:
        document = pattern_view.document(pattern)
    return {"name": "review.html", "text": html.render(document)}
