"""What is wrong with a pattern as a whole, and what is allowed but rarely meant: rules over the parsed tree.

`check` is the public face: every diagnostic of a text, errors and warnings, in order of place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from workbench.pattern.diagnostics import Diagnostic, Fix, shortened
from workbench.pattern.parser import Section, Tree, parse
from workbench.pattern.symbols import can_fuse, pair_up, symbol_of
from workbench.pattern.tokens import Token


def check(text: str, pipeline_size: int = 1) -> tuple[Diagnostic, ...]:
    """Every problem of a pattern, errors and warnings, in order of place; empty when there is none. Never raises.

    `pipeline_size` (ranks) adds `auto-split`: with more than one rank and no "|", upstream splits evenly by count.
    """
    return diagnose(parse(text), pipeline_size)


def diagnose(tree: Tree, pipeline_size: int = 1) -> tuple[Diagnostic, ...]:
    """The parser's problems, the errors of the whole, and, only for what can be built, the warnings."""
    found = [*tree.problems, *_mtp_mismatch(tree), *_mixed_attention(tree)]
    if not found:
        found = [*_empty(tree), *_unfused_pairs(tree), *_auto_split(tree, pipeline_size)]
    return tuple(sorted(found, key=lambda entry: (entry.start, entry.end)))


# ---------------------------------------------------------------------------------------------- errors


def _mtp_mismatch(tree: Tree) -> Iterator[Diagnostic]:
    """All MTP depths are one pattern. A depth with an error of its own is told about that error only."""
    faults = sorted(problem.start for problem in tree.problems)
    sound = [
        (number, depth)
        for number, depth in enumerate(tree.depths, start=1)
        if bisect_left(faults, depth.start) == bisect_left(faults, depth.end)
    ]
    model, reference = next(((number, depth) for number, depth in sound if depth.start < depth.end), (0, None))
    if reference is None:
        return
    wanted = tree.text[reference.start : reference.end]
    quoted = repr(shortened(wanted))
    for number, depth in sound:
        given = tree.text[depth.start : depth.end]
        if given == wanted:
            continue
        # An empty depth has no character of its own: point at the "/" that opens it.
        start, end = (depth.start, depth.end) if given else (depth.start - 1, depth.start)
        what = f"is {shortened(given)!r}" if given else "is empty"
        yield Diagnostic(
            "mtp-mismatch",
            start,
            end,
            f"MTP depth {number} {what}, depth {model} is {quoted}: all depths are one pattern, brackets included",
            f"write {quoted} in every depth" if given else f"remove this '/', or write {quoted} in every depth",
            Fix(f"make it {quoted}", depth.start, depth.end, wanted) if given else Fix("remove '/'", start, end, ""),
        )


def _mixed_attention(tree: Tree) -> Iterator[Diagnostic]:
    """`*` never meets `+` or `D`, in the main pattern and in MTP each for itself, as upstream."""
    main = [token for stage in tree.stages for token in stage.symbols]
    mtp = next((list(depth.symbols) for depth in tree.depths if depth.items), [])
    for where, tokens in (("the main pattern", main), ("the MTP pattern", mtp)):
        families = [token for token in tokens if symbol_of(token.text).family in ("attention", "latent")]
        for token in families[1:]:
            if symbol_of(token.text).family != symbol_of(families[0].text).family:
                yield _mixed(token, families, where)
                break


def _mixed(token: Token, families: list[Token], where: str) -> Diagnostic:
    first = families[0]
    kinds = {symbol: sum(entry.text == symbol for entry in families) for symbol in "*+D"}
    counts = ", ".join(f"{count} × {symbol!r}" for symbol, count in kinds.items() if count)
    return Diagnostic(
        "mixed-attention",
        token.start,
        token.end,
        f"{symbol_of(token.text)} cannot meet {symbol_of(first.text)} at {first.start} in one model",
        f"{where} has {counts}: use '*' throughout, or only '+' and 'D'",
    )


# -------------------------------------------------------------------------------------------- warnings


def _empty(tree: Tree) -> Iterator[Diagnostic]:
    if not any(stage.items for stage in tree.stages):
        end = tree.stages[-1].end
        yield Diagnostic("empty-pattern", 0, end, "the main pattern has no layers", "write a layer, such as M")
    else:
        leading = True  # before the first layer, an empty stage is the "|" after it; later, the "|" before it
        for number, stage in enumerate(tree.stages):
            leading = leading and not stage.items
            if not stage.items:
                start = stage.end if leading else stage.start - 1
                yield Diagnostic(
                    "empty-stage",
                    start,
                    start + 1,
                    f"stage {number} is empty: a pipeline stage without layers",
                    "remove one '|' unless the empty stage is meant",
                    Fix("remove '|'", start, start + 1, ""),
                )
    if tree.depths and not any(depth.items for depth in tree.depths):
        start = tree.depths[0].start - 1
        yield Diagnostic(
            "empty-mtp",
            start,
            len(tree.text),
            "nothing after '/': the model has no MTP layers",
            "remove '/', or write the MTP pattern after it",
            Fix("remove '/'", start, len(tree.text), ""),
        )


def _unfused_pairs(tree: Tree) -> Iterator[Diagnostic]:
    for section in tree.stages:
        yield from _pairs(section)
    if tree.depths:
        yield from _pairs(tree.depths[0], _mtp_fix(tree))


def _pairs(section: Section, fix: Fix | None = None) -> Iterator[Diagnostic]:
    for first, second in zip(section.items, section.items[1:], strict=False):
        if first.fused or second.fused or not can_fuse(first.symbols[0].text, second.symbols[0].text):
            continue
        pair = first.symbols[0].text + second.symbols[0].text
        yield Diagnostic(
            "unfused-pair",
            first.start,
            second.end,
            f"{pair} could be one block, [{pair}]: same model, same checkpoint",
            f"write [{pair}]" if fix is None else f"write [{pair}], in every depth",
            fix or Fix("fuse this pair", first.start, second.end, f"[{pair}]"),
        )


def _mtp_fix(tree: Tree) -> Fix | None:
    """With more than one depth, fusing in the first alone would make them differ: one edit for all."""
    if len(tree.depths) == 1:
        return None
    fused = pair_up("".join(token.text for token in tree.depths[0].symbols))
    start, end = tree.depths[0].start, tree.depths[-1].end
    return Fix("fuse every pair of every MTP depth", start, end, "/".join([fused] * len(tree.depths)))


def _auto_split(tree: Tree, ranks: int) -> Iterator[Diagnostic]:
    if ranks < 2 or len(tree.stages) > 1 or not tree.stages[0].items:
        return
    stage = tree.stages[0]
    layers = len(stage.symbols)
    split = _even_split(tree.text, stage, layers // ranks) if layers % ranks == 0 else None
    hint, fix = "place '|' where each stage ends", None
    if layers % ranks:
        outcome = f"megatron cannot split {layers} sub-layers evenly"
    elif split is None:
        outcome = f"an even split of {layers} sub-layers would cut a fused block"
    else:
        outcome = f"megatron splits {layers} sub-layers evenly (deprecated)"
        hint, fix = f"write {shortened(split)}", Fix("place '|' there", stage.start, stage.end, split)
    yield Diagnostic("auto-split", stage.start, stage.end, f"no '|' on {ranks} pipeline ranks: {outcome}", hint, fix)


def _even_split(text: str, stage: Section, share: int) -> str | None:
    """The stage's text with "|" after every `share` sub-layers; None where that would be inside a group."""
    parts, place = [], 0
    for item in stage.items:
        if place and place % share == 0:
            parts.append("|")
        if item.fused and (place + 1) % share == 0:
            return None
        parts.append(text[item.start : item.end])
        place += len(item.symbols)
    return "".join(parts)
