"""What is wrong with a pattern as a whole, and what is allowed but rarely meant: rules over the parsed tree.

`check` is the public face: every diagnostic of a text, errors and warnings, in order of place.
"""

from __future__ import annotations

from collections.abc import Iterator

from workbench.pattern.diagnostics import Diagnostic, Fix
from workbench.pattern.parser import Section, Tree, parse
from workbench.pattern.symbols import can_fuse, symbol_of
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
    sound = [
        depth
        for depth in tree.depths
        if not any(depth.start <= problem.start < max(depth.end, depth.start + 1) for problem in tree.problems)
    ]
    reference = next((depth for depth in sound if depth.start < depth.end), None)
    if reference is None:
        return
    wanted = tree.text[reference.start : reference.end]
    for depth in sound:
        given = tree.text[depth.start : depth.end]
        if given == wanted:
            continue
        # An empty depth has no character of its own: point at the "/" that opens it.
        start, end = (depth.start, depth.end) if given else (depth.start - 1, depth.start)
        number, model = tree.depths.index(depth) + 1, tree.depths.index(reference) + 1
        what = f"is {given!r}" if given else "is empty"
        yield Diagnostic(
            "mtp-mismatch",
            start,
            end,
            f"MTP depth {number} {what}, depth {model} is {wanted!r}: all depths are one pattern",
            f"repeat {wanted!r} in every depth",
            Fix(f"make it {wanted!r}", depth.start, depth.end, wanted),
        )


def _mixed_attention(tree: Tree) -> Iterator[Diagnostic]:
    """`*` never meets `+` or `D`, in the main pattern and in MTP each for itself, as upstream."""
    main = [token for stage in tree.stages for token in stage.symbols]
    mtp = list(tree.depths[0].symbols) if tree.depths else []
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
        f"{symbol_of(token.text)} cannot meet {symbol_of(first.text)} at {first.start}: megatron builds one or the other "
        f"({where} has {counts})",
        "use '*' throughout, or only '+' and 'D'",
    )


# -------------------------------------------------------------------------------------------- warnings


def _empty(tree: Tree) -> Iterator[Diagnostic]:
    if not any(stage.items for stage in tree.stages):
        end = tree.stages[-1].end
        yield Diagnostic("empty-pattern", 0, end, "the main pattern has no layers", "write a layer, such as M")
    else:
        for number, stage in enumerate(tree.stages):
            if not stage.items:
                last = number == len(tree.stages) - 1
                start = stage.start - 1 if last else stage.end
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
    for section in (*tree.stages, *tree.depths[:1]):
        yield from _pairs(section)


def _pairs(section: Section) -> Iterator[Diagnostic]:
    for first, second in zip(section.items, section.items[1:], strict=False):
        if first.fused or second.fused or not can_fuse(first.symbols[0].text, second.symbols[0].text):
            continue
        pair = first.symbols[0].text + second.symbols[0].text
        yield Diagnostic(
            "unfused-pair",
            first.start,
            second.end,
            f"{pair} could be one block, [{pair}]: same model, same checkpoint",
            f"write [{pair}]",
            Fix("fuse this pair", first.start, second.end, f"[{pair}]"),
        )


def _auto_split(tree: Tree, pipeline_size: int) -> Iterator[Diagnostic]:
    if pipeline_size > 1 and len(tree.stages) == 1 and tree.stages[0].items:
        stage = tree.stages[0]
        yield Diagnostic(
            "auto-split",
            stage.start,
            stage.end,
            f"no '|' on {pipeline_size} pipeline ranks: upstream splits {len(stage.symbols)} sub-layers evenly (deprecated)",
            "place '|' where each stage ends",
        )
