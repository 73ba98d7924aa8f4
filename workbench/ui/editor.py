"""`Editor`: a layer pattern edited in a notebook, everything that follows from it redrawn with each keystroke.

An editor's life: `Editor("M[*-]")` computes what to show (`workbench.ui.state`), a pure function of text and sizes. When
it is displayed, the page (`assets/*.js`) draws that state and sends what happens as messages: the text after a
keystroke, or a command such as "fuse". Each is answered with a new state. Python has the only parser; the page has none.

Beside the live widget the notebook gets an output of its own with a picture, which is what a reopened or converted
notebook shows. It is kept current, and hidden while the widget lives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.cost.stages import best_stages
from workbench.cost.summary import Cost, estimate
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import fuse_all
from workbench.pattern.sketch import Sketch
from workbench.ui import edits, files, static
from workbench.ui.exports import exported
from workbench.ui.history import History, Step
from workbench.ui.inside import inside
from workbench.ui.state import compute, constants

_SETTLED = 0.5  # seconds without a change until the saved picture is drawn again


class Editor(anywidget.AnyWidget):
    """A live editor: `editor = Editor("M[*-]M[ME]")`, then `editor` at the end of a cell.

    `value` is the text and may be set; `pattern` is its `Pattern`, None while the text is none. `selected` holds the
    canonical indices of the selected block's sub-layers (of an MTP depth where `selected_mtp`) or None. `sizes` are
    the `ModelSizes` that costs are counted with. All can be observed: `editor.observe(print, "pattern")`.
    """

    _esm = files.script()
    _css = files.style()

    value = traitlets.Unicode("")
    pattern = traitlets.Instance(Pattern, allow_none=True)
    sizes = traitlets.Instance(ModelSizes)
    selected = traitlets.Instance(tuple, allow_none=True).tag(sync=True)
    selected_mtp = traitlets.Bool(False).tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    graph = traitlets.Dict().tag(sync=True)
    constants = traitlets.Dict().tag(sync=True)

    def __init__(self, value: str | Pattern = "", sizes: ModelSizes | None = None, **options: Any) -> None:
        text, sizes = str(value), sizes or ModelSizes()
        self._history = History(Step(text, sizes))
        self._written_at: float | None = None
        self._answers: dict[str, Any] = {"view": "", "number": 0}
        self._pictures: list[Any] = []
        self._redraw: asyncio.TimerHandle | None = None
        sketch = Sketch(text)
        state = compute(sketch, sizes) | self._answers
        super().__init__(
            value=text, sizes=sizes, pattern=_pattern(sketch), state=state, constants=constants(), **options
        )
        self.on_msg(self._receive)

    # ------------------------------------------------------------------------------------ for later cells

    def architecture(self, dtype: str = "bf16") -> Architecture:
        """What is edited as an `Architecture`; `PatternError` while the text is no pattern, `SizesError`."""
        return Architecture(self.value, self.sizes, dtype=dtype)

    def cost(self, **options: Any) -> Cost:
        """What it costs; options are those of `estimate`."""
        return estimate(self.architecture(), **options)

    # --------------------------------------------------------------------------------------------- edits

    def fuse(self, sublayer: int, *, mtp: bool = False) -> None:
        """Put sub-layers `sublayer` and `sublayer + 1` in one block; `WorkbenchError` where they cannot share one."""
        self.value = str(edits.fuse(Pattern(self.value), sublayer, mtp))

    def unfuse(self, sublayer: int, *, mtp: bool = False) -> None:
        """Take the block that holds `sublayer` apart."""
        self.value = str(edits.unfuse(Pattern(self.value), sublayer, mtp))

    def fuse_all(self) -> None:
        """Fuse every adjacent legal pair of every stage and of MTP."""
        self.value = str(fuse_all(Pattern(self.value)))

    def unfuse_all(self) -> None:
        """Remove every bracket, of a text with mistakes too."""
        self.value = self.value.replace("[", "").replace("]", "")

    def balance(self, stages: int) -> None:
        """Place `|` so that the slowest of `stages` pipeline stages is as quick as it can be."""
        self.value = str(best_stages(self.architecture(), stages).pattern)

    def load(self, name: str) -> None:
        """The pattern and the sizes of a preset, as one change."""
        architecture = preset(name).architecture()
        self._go(Step(str(architecture.pattern), architecture.sizes), record=True)

    def undo(self) -> None:
        """One change back."""
        self._go(self._history.undo())

    def redo(self) -> None:
        """One undone change forward again."""
        self._go(self._history.redo())

    # -------------------------------------------------------------------------------------------- traits

    @traitlets.observe("value", "sizes")
    def _changed(self, change: Any) -> None:
        if self.state and (self.value, self.sizes) != (self._history.present.text, self._history.present.sizes):
            self._history.record(Step(self.value, self.sizes), self._written_at)
            self._refresh()

    @traitlets.observe("selected", "selected_mtp")
    def _look_inside(self, change: Any = None) -> None:
        # While the text is no pattern, the picture of the last one stays.
        if self.pattern is not None:
            self.graph = inside(self.pattern, self.selected, self.selected_mtp)

    @traitlets.validate("selected")
    def _exists(self, proposal: Any) -> Any:
        if proposal.value is not None and not all(isinstance(index, int) for index in proposal.value):
            raise traitlets.TraitError("selected holds canonical indices of sub-layers, such as (1, 2), or is None")
        return proposal.value

    def _go(self, step: Step, record: bool = False) -> None:
        """Text and sizes at once, so that nothing is computed for one without the other."""
        if record:
            self._history.record(step)
        self._history.present = step
        with self.hold_trait_notifications():
            self.value, self.sizes = step.text, step.sizes
            self._refresh()

    def _refresh(self) -> None:
        # The pattern first: who observes `value` finds it as new as the text.
        sketch = Sketch(self.value)
        state = compute(sketch, self.sizes, self.state)
        self.pattern = _pattern(sketch)
        self._reselect()
        self._look_inside()
        history = {"can_undo": bool(self._history.past), "can_redo": bool(self._history.future)}
        self.state = state | history | self._answers
        self._keep_pictures()

    def _reselect(self) -> None:
        """The selection follows the block that its first sub-layer is in now."""
        if self.selected and self.pattern is not None:
            blocks = self.pattern.blocks
            if self.selected_mtp:
                blocks = self.pattern.mtp.blocks if self.pattern.mtp else ()
            found = [block.sublayers for block in blocks if self.selected[0] in block.sublayers]
            self.selected = found[0] if found else None

    # ------------------------------------------------------------------------------------------ messages

    def _receive(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """One message of the page. It carries the text as written, so that no keystroke is lost, whatever comes first."""
        try:
            if "text" in message:
                self._answers = {"view": str(message["view"]), "number": int(message["number"])}
                self._write(str(message["text"]))
            self._do(message)
        except WorkbenchError as error:
            self.send({"notice": str(error)})
        self.state = self.state | self._answers  # an answer even where nothing changed

    def _write(self, text: str) -> None:
        self._written_at = time.monotonic()
        try:
            self.value = text
        finally:
            self._written_at = None

    def _do(self, message: dict[str, Any]) -> None:
        commands: dict[str, Callable[[], None]] = {
            "fuse": lambda: self.fuse(int(message["sublayer"]), mtp=bool(message["mtp"])),
            "unfuse": lambda: self.unfuse(int(message["sublayer"]), mtp=bool(message["mtp"])),
            "fuse-all": self.fuse_all,
            "unfuse-all": self.unfuse_all,
            "balance": lambda: self.balance(int(message["stages"])),
            "preset": lambda: self.load(str(message["name"])),
            "mend": lambda: self._mend(str(message["code"]), int(message["start"])),
            "undo": self.undo,
            "redo": self.redo,
            "select": lambda: self._select(message["sublayers"], bool(message["mtp"])),
            "export": lambda: self._export(str(message["form"])),
        }
        command = commands.get(str(message.get("do")))
        if command is not None:
            command()

    def _mend(self, code: str, start: int) -> None:
        self.value = edits.mended(self.value, code, start)

    def _select(self, sublayers: list[int] | None, mtp: bool) -> None:
        with self.hold_trait_notifications():
            self.selected_mtp, self.selected = mtp, None if sublayers is None else tuple(map(int, sublayers))

    def _export(self, form: str) -> None:
        self.send({"file": exported(Pattern(self.value), self.sizes, form), "form": form})

    # ------------------------------------------------------------------------------------------- display

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and for whoever knows none, the picture as HTML and the pattern as text."""
        data, metadata = static.bundle_of(super()._repr_mimebundle_(**options))
        return {**static.bundle(self.value), **static.only_widget(data)}, metadata

    def _ipython_display_(self, **options: Any) -> None:
        """Two outputs: the picture, which a saved notebook still shows, and the widget, whose state is never saved."""
        from IPython.display import display

        show: Callable[..., Any] = display
        picture = show(static.bundle(self.value), raw=True, display_id=True)
        data, metadata = static.bundle_of(super()._repr_mimebundle_(**options))
        if picture is not None:
            self._pictures.append(picture)
        show({"text/plain": "", **static.only_widget(data)}, raw=True, metadata=metadata)

    def _keep_pictures(self) -> None:
        if not self._pictures:
            return
        if self._redraw is not None:
            self._redraw.cancel()
        try:
            self._redraw = asyncio.get_running_loop().call_later(_SETTLED, self._draw_pictures)
        except RuntimeError:  # no event loop: nothing to wait with
            self._draw_pictures()

    def _draw_pictures(self) -> None:
        for picture in self._pictures:
            picture.update(static.bundle(self.value), raw=True)


def _pattern(sketch: Sketch) -> Pattern | None:
    return Pattern(sketch) if sketch.sound else None
