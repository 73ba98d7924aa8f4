"""Sizes that make different patterns cost the same, so that what they learn can be compared. Pure.

The residual width and everything that decides what a layer can remember (head widths, state, query groups) stay as they
are given. What is solved for is the width inside the layers: that of the channel mixers where a pattern has some, else,
or where those alone cannot reach the cost, the number of heads of its sequence mixers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.flops import flops
from workbench.cost.parameters import parameters
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

EQUALS = ("parameters", "flops", "sizes")
_LANE = 8  # elements: widths are multiples of it
_MOST = 4096  # lanes, or groups of heads
_AROUND = 2  # groups of heads: how far kinds of sequence mixers may be apart
_MIXERS = {"mamba": {"M"}, "attention": {"*", "+", "D"}, "delta": {"G"}}


@dataclass(frozen=True)
class Matched:
    """A pattern with the sizes solved for it. `off` is its cost over the target's, minus one: 0.01 is one percent more."""

    pattern: Pattern
    sizes: ModelSizes
    parameters: int
    flops_per_token: float
    off: float


def match(
    patterns: Sequence[Pattern | str],
    sizes: ModelSizes | None = None,
    *,
    equal: str = "parameters",
    target: float | None = None,
    sequence_length: int = 1024,
    tolerance: float = 0.03,
) -> tuple[Matched, ...]:
    """Sizes for each pattern at which all cost the same.

    `equal` is "parameters" (of the whole model), "flops" (training FLOPs a token at `sequence_length` tokens) or "sizes"
    (nothing is solved: every pattern gets the sizes as they are). `target` is the cost to reach, that of the first pattern with
    `sizes` where it is not given. Raises `WorkbenchError` for a pattern that comes no closer than `tolerance`.
    """
    if equal not in EQUALS:
        raise WorkbenchError(f"equal {equal!r} is not one of {', '.join(map(repr, EQUALS))}")
    if not patterns:
        raise WorkbenchError("there are no patterns to match")
    sizes = sizes or ModelSizes()

    def cost(pattern: Pattern, tried: ModelSizes) -> float:
        architecture = Architecture(pattern, tried)
        if equal == "flops":
            return flops(architecture, sequence_length=sequence_length).training_per_token
        return float(parameters(architecture).total)

    read = [Pattern(pattern) for pattern in patterns]
    wanted = cost(read[0], sizes) if target is None else float(target)
    found = []
    for pattern in read:
        solved = sizes if equal == "sizes" else _solved(pattern, sizes, cost, wanted, tolerance)
        architecture = Architecture(pattern, solved)
        found.append(
            Matched(
                pattern,
                solved,
                parameters(architecture).total,
                flops(architecture, sequence_length=sequence_length).training_per_token,
                cost(pattern, solved) / wanted - 1,
            )
        )
    return tuple(found)


# ------------------------------------------------------------------------------------------------------


def _solved(
    pattern: Pattern,
    sizes: ModelSizes,
    cost: Callable[[Pattern, ModelSizes], float],
    wanted: float,
    tolerance: float,
) -> ModelSizes:
    """The sizes closest to the cost; those that leave the sequence mixers alone, where they are close enough."""

    def off(tried: ModelSizes) -> float:
        return abs(cost(pattern, tried) / wanted - 1)

    def widened(heads: ModelSizes) -> ModelSizes:
        return _nearest(lambda lanes: _with_channels(pattern, heads, lanes), lambda tried: cost(pattern, tried), wanted)

    tried = [widened(sizes)]
    mixers = [mixer for mixer, symbols in _MIXERS.items() if symbols & set(pattern.symbols)]
    if off(tried[0]) > tolerance:
        # All kinds of heads together to within one step, then each kind a few steps more or less.
        most = _nearest_count(
            lambda times: cost(pattern, _with_channels(pattern, _with_heads(sizes, dict.fromkeys(mixers, times)), 1)),
            wanted,
        )
        around = range(max(1, most - _AROUND), most + _AROUND + 1)
        for counts in itertools.product(around, repeat=len(mixers)):
            tried.append(widened(_with_heads(sizes, dict(zip(mixers, counts, strict=True)))))
    best = min(tried, key=off)
    if off(best) > tolerance:
        raise WorkbenchError(
            f"pattern {str(pattern)!r} comes within {off(best):.1%} of the cost {wanted:,.0f}, not {tolerance:.1%}: its layers are "
            "too coarse or too few; use a larger hidden_size, another number of layers, or a larger tolerance"
        )
    return best


def _with_heads(sizes: ModelSizes, times: Mapping[str, int]) -> ModelSizes:
    """The sizes with so many groups' worth of heads in each kind of sequence mixer named."""
    changed: dict[str, int | None] = {}
    if "mamba" in times:
        changed["mamba_num_heads"] = times["mamba"] * (sizes.mamba_num_groups or 1)
    if "attention" in times:
        changed["head_dim"] = sizes.attention_head_dim
        changed["num_attention_heads"] = times["attention"] * (sizes.num_query_groups or 1)
    if "delta" in times and sizes.gdn_num_key_heads and sizes.gdn_num_value_heads:
        changed["gdn_num_key_heads"] = times["delta"]
        changed["gdn_num_value_heads"] = times["delta"] * (sizes.gdn_num_value_heads // sizes.gdn_num_key_heads)
    return replace(sizes, **changed)  # type: ignore[arg-type]


def _with_channels(pattern: Pattern, sizes: ModelSizes, lanes: int) -> ModelSizes:
    """The sizes with `lanes` × 8 elements in the widest channel mixer and the others in proportion; without any, as they are."""
    widths = {"-": ("ffn_hidden_size",), "E": ("moe_ffn", "moe_shared_ffn")}
    fields = [name for symbol, names in widths.items() if symbol in pattern.symbols for name in names]
    given = {name: getattr(sizes, name) for name in fields if getattr(sizes, name)}
    if not given:
        return sizes
    widest = max(given.values())
    return replace(sizes, **{name: _LANE * max(1, round(lanes * width / widest)) for name, width in given.items()})


def _nearest(sizes_at: Callable[[int], ModelSizes], cost: Callable[[ModelSizes], float], wanted: float) -> ModelSizes:
    low = _nearest_count(lambda lanes: cost(sizes_at(lanes)), wanted)
    return min((sizes_at(low), sizes_at(low + 1)), key=lambda tried: abs(cost(tried) - wanted))


def _nearest_count(cost: Callable[[int], float], wanted: float) -> int:
    """The largest count, at least 1, whose cost is not above the wanted one; the cost rises with the count."""
    low, high = 1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= wanted else (low, middle)
    return low
