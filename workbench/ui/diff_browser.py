"""`DiffBrowser`: a diff looked through in a notebook; a tensor's details are computed when its row is opened.

A browser's life: `DiffBrowser(diff)` says everything about the diff once (`workbench.ui.diff_state`), and the page
(`assets/diff.js`) draws, searches, filters and sorts it without Python. Opening a row sends one message with its number;
the answer is a close look at that pair, for which `diff.look` reads the two tensors again.

Beside the live widget the notebook gets an output of its own with a still table, as the editor has: it is what a reopened
or converted notebook shows, and is hidden while the widget lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from workbench.checkpoint.differences import Detail, Diff
from workbench.errors import WorkbenchError
from workbench.ui import diff_state, files, static
from workbench.views.diff import mimebundle

GONE = "This diff was read from a file: its tensors cannot be looked at. Compare the checkpoints again."


class DiffBrowser(anywidget.AnyWidget):
    """A table to look through: `DiffBrowser(diff(before, after))` at the end of a cell.

    `diff` is what it shows. `detail` is the `Detail` of the row that was opened last, None before; it can be observed.
    """

    _esm = files.diff_script()
    _css = files.diff_style()

    diff = traitlets.Instance(Diff)
    detail = traitlets.Instance(Detail, allow_none=True)
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, diff: Diff, **options: Any) -> None:
        self._shown = diff_state.shown(diff)
        super().__init__(diff=diff, state=diff_state.compute(diff), **options)
        self.on_msg(self._receive)

    def look(self, name: str) -> Detail:
        """A pair of tensors looked at closely; `WorkbenchError` where that cannot be."""
        if self.diff.look is None:
            raise WorkbenchError(GONE)
        self.detail = self.diff.look(name)
        return self.detail

    def _receive(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """A row was opened: its number comes, and goes back with what was found."""
        if message.get("do") != "look":
            return
        row = int(message["row"])
        if not 0 <= row < len(self._shown):
            return
        try:
            self.send({"row": row, "detail": diff_state.looked(self.look(self._shown[row].name))})
        except WorkbenchError as error:
            self.send({"row": row, "notice": str(error)})

    # ------------------------------------------------------------------------------------------- display

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and for whoever knows none, the diff as HTML and as text."""
        data, metadata = static.bundle_of(super()._repr_mimebundle_(**options))
        return {**static.framed(mimebundle(self.diff)), **static.only_widget(data)}, metadata

    def _ipython_display_(self, **options: Any) -> None:
        """Two outputs: the still table, which a saved notebook still shows, and the widget, whose state is never saved."""
        from IPython.display import display

        show: Callable[..., Any] = display
        show(static.framed(mimebundle(self.diff)), raw=True)
        data, metadata = static.bundle_of(super()._repr_mimebundle_(**options))
        show({"text/plain": "", **static.only_widget(data)}, raw=True, metadata=metadata)
