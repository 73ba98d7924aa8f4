"""A throughput comparison as a scene: is a step faster, in which regime, where in the step, and what it does less of."""

from __future__ import annotations

from dataclasses import replace

from workbench.compare.throughput.result import Interval, Regime, Throughput
from workbench.compare.throughput.twins import has_fused
from workbench.pattern.model import Pattern
from workbench.render import notebook, scene, text
from workbench.render.text_table import status_text
from workbench.views import pattern as pattern_view
from workbench.views import verdict
from workbench.views.differences import words
from workbench.views.numbers import count, counted, noun, percent, size

_OUTCOMES: dict[str, scene.Outcome] = {"faster": "pass", "slower": "fail", "no measurable difference": "not-run"}
_SHORT = {"no measurable difference": "none shown"}  # in a cell
_TITLES = {"host": "Where the host is the limit", "compute": "Where the arithmetic is the limit"}
_PHASES = {"forward_backward": "forward+backward", "step": "whole step"}
_NUMBERS = (
    ("blocks", "blocks"),
    ("blocks that run lean", "lean_blocks"),
    ("module calls", "module_calls"),
    ("Python function calls", "python_calls"),
    ("torch operators", "operators"),
    ("kernel launches", "kernels"),
    ("peak memory", "peak_memory_bytes"),
)

_METHOD = (
    "Each is what the library builds by default: fused blocks run lean where they can, which leaves upstream's arithmetic and "
    "bits as they are; others run upstream's forward. Both were built from one seed in one process and trained on the same "
    "tokens. Their steps took turns, each first in every other pair. Times are medians, with 95 % bootstrap intervals in "
    "brackets. A speedup is the median over pairs of unfused / fused, where 1 is no difference: an interval that holds 1 shows "
    "none."
)
_MEMORY = (
    "Of one step. Peak memory is what the step's own tensors take at their highest, to the byte; weights, gradient buffers "
    "and optimizer state are not in it."
)


def document(found: Throughput) -> scene.Document:
    """The whole comparison: the answers, that it is one function, each regime, and what it was obtained with."""
    parts: list[scene.Part] = [*_answer(found), scene.Section("The twins", (_twins(found),))]
    parts += [_regime(regime, _names(found)) for regime in found.regimes]
    if found.environment:
        parts.append(scene.Section("Obtained with", (scene.Paragraph(_METHOD), *_environment(found))))
    return scene.Document("Throughput of the twins", tuple(parts), kind="Throughput")


def banner(regime: Regime) -> scene.Banner:
    """FASTER, SLOWER or NO MEASURABLE DIFFERENCE, and by how much, of a whole step."""
    speedup = regime.phase("step").speedup
    outcome = speedup.outcome
    return scene.Banner(
        scene.Status(_OUTCOMES[outcome], outcome.upper()), f"{_times(speedup)} a step, {words(regime.name)} regime"
    )


def headline(found: Throughput) -> str:
    """Every regime's banner, a line each."""
    banners = [banner(regime) for regime in found.regimes]
    return "\n".join(f"{status_text(shown.status)}: {shown.text}" for shown in banners)


def mimebundle(found: Throughput) -> dict[str, str]:
    """What a notebook shows for it."""
    tables = tuple(_phases(regime, _names(found)) for regime in found.regimes)
    shown = scene.Document("Throughput of the twins", (*_answer(found), *tables))
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _answer(found: Throughput) -> tuple[scene.Part, ...]:
    steps = sum(regime.equal_steps for regime in found.regimes)
    same = f"The same function first: loss and gradient norm of all {count(steps)} steps, and every weight in the end, are the same bits."
    return (scene.Paragraph(same), *map(banner, found.regimes))


def _names(found: Throughput) -> tuple[str, str]:
    """What the two are called in a table's head."""
    if has_fused(Pattern(found.fused)) and not has_fused(Pattern(found.unfused)):
        return "fused", "unfused"
    return "this", "other"


def _twins(found: Throughput) -> scene.SideBySide:
    titles = (name.capitalize() for name in _names(found))
    return scene.SideBySide(
        tuple(_twin(title, Pattern(each)) for title, each in zip(titles, (found.fused, found.unfused), strict=True))
    )


def _twin(title: str, pattern: Pattern) -> scene.Section:
    counts = (
        (len(pattern.blocks), "block"),
        (len(pattern.sublayers), "sub-layer"),
        (pattern.counts["fused"], "fused pair"),
    )
    facts = scene.Facts(tuple(scene.Fact(count(number), noun(number, word)) for number, word in counts))
    return scene.Section(title, (facts, scene.Code(str(pattern)), pattern_view.strip(pattern)))


def _regime(regime: Regime, names: tuple[str, str]) -> scene.Section:
    facts = (
        scene.Fact(count(regime.rows * regime.sequence), "tokens a step"),
        scene.Fact(str(regime.sizes["hidden_size"]), "wide"),
        scene.Fact(count(regime.threads), noun(regime.threads, "thread")),
        scene.Fact(count(regime.trials), noun(regime.trials, "pair of trials", "pairs of trials")),
        scene.Fact(percent(regime.host_share), f"of a step outside of {_arithmetic(regime)}"),
    )
    parts: tuple[scene.Part, ...] = (
        scene.Facts(facts),
        _phases(regime, names),
        *_plain(regime, names),
        _work(regime, names),
        _sizes(regime),
    )
    return scene.Section(_TITLES.get(regime.name, words(regime.name).capitalize()), parts)


def _arithmetic(regime: Regime) -> str:
    return "matrix products" if regime.unfused.kernels is None else "kernels"


def _plain(regime: Regime, names: tuple[str, str]) -> tuple[scene.Table, ...]:
    """What fusing alone gives, where it was measured."""
    if not regime.plain:
        return ()
    table = _phases(replace(regime, phases=regime.plain), names)
    return (
        replace(
            table, caption=f"The same with fused blocks that run upstream's own forward, {words(regime.name)} regime."
        ),
    )


def _phases(regime: Regime, names: tuple[str, str]) -> scene.Table:
    columns = (
        scene.Column("phase"),
        *(scene.Column(f"{name} ms", "right") for name in names),
        scene.Column("speedup", "right"),
        scene.Column("difference"),
    )
    rows = tuple(
        (
            _PHASES.get(phase.name, phase.name),
            _milliseconds(phase.fused_ms),
            _milliseconds(phase.unfused_ms),
            _times(phase.speedup),
            scene.Status(_OUTCOMES[phase.speedup.outcome], _SHORT.get(phase.speedup.outcome, phase.speedup.outcome)),
        )
        for phase in regime.phases
    )
    return scene.Table(
        columns, rows, f"Parts of a step, {words(regime.name)} regime: medians of {regime.trials} pairs."
    )


def _work(regime: Regime, names: tuple[str, str]) -> scene.Table:
    columns = (scene.Column("what"), *(scene.Column(name, "right") for name in (*names, "difference")))
    rows = tuple(
        (label, *_compared(label, *(getattr(work, field) for work in (regime.fused, regime.unfused))))
        for label, field in _NUMBERS
        if getattr(regime.fused, field) is not None
    )
    return scene.Table(columns, rows, _MEMORY)


def _compared(label: str, fused: int, unfused: int) -> tuple[str, str, str]:
    said = size if label == "peak memory" else count
    if fused == unfused:
        return said(fused), said(unfused), "none"
    sign = "−" if fused < unfused else "+"
    share = f" ({sign}{percent(abs(fused - unfused) / unfused)})" if unfused else ""
    return said(fused), said(unfused), f"{sign}{said(abs(fused - unfused))}{share}"


def _sizes(regime: Regime) -> scene.Details:
    rows = tuple((words(name), str(value)) for name, value in regime.sizes.items() if value is not None)
    table = scene.Table((scene.Column("name"), scene.Column("value", code=True)), rows, "Every size of the two models.")
    return scene.Details(f"sizes: {counted(len(rows), 'value')}", (table,))


def _environment(found: Throughput) -> tuple[scene.Part, ...]:
    # Other than a verdict, times do not come out the same again.
    table, *folded = verdict.environment(found.environment)
    assert isinstance(table, scene.Table)
    caption = "What the times were obtained with. Again, they will be others; an interval says how far others."
    return (replace(table, caption=caption), *folded)


def _milliseconds(time: Interval) -> str:
    """
    >>> _milliseconds(Interval(3.4567, 3.4, 3.5)), _milliseconds(Interval(123.456, 120, 130))
    ('3.46 [3.40, 3.50]', '123 [120, 130]')
    """
    digits = 2 if time.median < 9.995 else 1 if time.median < 99.95 else 0
    return f"{time.median:.{digits}f} [{time.low:.{digits}f}, {time.high:.{digits}f}]"


def _times(speedup: Interval) -> str:
    """An end that is not 1 does not look like it: the outcome depends on which side it is.

    >>> _times(Interval(1.1234, 1.1, 1.13)), _times(Interval(1.05, 1.0003, 1.1))
    ('1.123× [1.100, 1.130]', '1.050× [1.00030, 1.100]')
    """
    return f"{speedup.median:.3f}× [{_end(speedup.low)}, {_end(speedup.high)}]"


def _end(value: float) -> str:
    text = f"{value:.3f}"
    return f"{value:.5f}" if text == "1.000" and value != 1.0 else text
