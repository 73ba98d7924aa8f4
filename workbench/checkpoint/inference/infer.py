"""The pattern and the sizes of a model from the canonical names and shapes of its weights alone. Pure.

Only what shapes prove is said. A size that one tensor shows is known; one that shows only with others is an equation, and
becomes known when something else (a `config.json`, another layer) gives the rest. `told` takes such values on, unless
they contradict. `workbench.checkpoint.inference.shape_rules` has the proofs of each layer kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.arch.sizes import ModelSizes, SizesError
from workbench.checkpoint.inference.equations import Equation, NotOneOf, Padded, Product
from workbench.checkpoint.inference.shape_rules import Reading, read_layer, read_outside
from workbench.checkpoint.inference.sublayers import Key, Shapes, Sorted, by_sublayer, ranges, spelled
from workbench.checkpoint.inference.unknown_sizes import IS_GATED, PADDED, reason, sizes_of_kinds
from workbench.checkpoint.inspection import FROM_SHAPES, Size, Unknown
from workbench.pattern.model import Pattern

_POSITIONS = NotOneOf(
    "position_embedding", ("learned_absolute",), "it is not learned_absolute: there is no table of positions"
)


@dataclass(frozen=True)
class Inferred:
    """What is known of a model.

    `pattern` has no brackets and no `|`, for a canonical checkpoint shows neither; None where the names spell none.
    `known` is by name, `equations` hold for sizes that may not be known. `findings` are contradictions, and what no model has;
    `disagreeing` are sizes that layers of one kind have differently, `odd_layers` the sub-layers that are in the minority, and
    `usual` what the others say.
    """

    pattern: Pattern | None
    symbols: frozenset[str]
    known: Mapping[str, Size]
    equations: tuple[Equation, ...]
    findings: tuple[str, ...] = ()
    disagreeing: frozenset[str] = frozenset()
    odd_layers: frozenset[Key] = frozenset()
    mtp: bool = False
    usual: Mapping[str, Any] = field(default_factory=dict)  # what most layers say where they disagree

    @property
    def values(self) -> dict[str, Any]:
        """The known sizes by name."""
        return {name: size.value for name, size in self.known.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Every size that a model of these layer kinds has, known or not."""
        return sizes_of_kinds(self.symbols, mtp=self.mtp)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The known sizes, in the order of `ModelSizes`."""
        return tuple(self.known[name] for name in self.names if name in self.known)

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """The others, each with the reason and with what is proven of it."""
        found = []
        for name in self.names:
            if name in self.known or name in (PADDED, IS_GATED):
                continue
            why = "the layers disagree about it" if name in self.disagreeing else reason(name)
            proven = "; ".join(equation.text for equation in self.equations if name in equation.names)
            found.append(Unknown(name, why, proven))
        return tuple(found)

    def told(self, values: Mapping[str, Any], source: str) -> Inferred:
        """The same with what `source` ("config.json") says of sizes: what is unknown is taken on, contradictions are findings."""
        findings, new = list(self.findings), {}
        for name, value in values.items():
            if name not in self.names or name in self.disagreeing:
                continue
            if name not in self.known:
                new[name] = value
            elif self.known[name].value != value:
                shown = self.known[name]
                findings.append(
                    f"{source} says that {name} is {say(value)}, and {shown.evidence or shown.source} says {say(shown.value)}"
                )
        for equation in self.equations:
            if not equation.broken(self.values | new):
                continue
            guilty = [name for name in equation.names if name in new]
            said = " and ".join(f"{name} is {say(new[name])}" for name in guilty)
            findings.append(f"{source} says that {said}, and the shapes prove that {equation.text}")
            new = {name: value for name, value in new.items() if name not in guilty}
        taken = {name: Size(name, value, source) for name, value in new.items()}
        return _solved(replace(self, known={**self.known, **taken}, findings=tuple(findings)))

    def completed(self, sizes: ModelSizes) -> ModelSizes:
        """`sizes` with what is known here in the place of what they say: the unknown comes from them."""
        values = {name: value for name, value in self.values.items() if name not in (PADDED, IS_GATED)}
        if PADDED in self.values and sizes.vocab_size is not None and sizes.padded_vocabulary != self.values[PADDED]:
            values |= {"vocab_size": self.values[PADDED], "vocab_multiple": 1}
        return replace(sizes, **values)

    def example(self) -> ModelSizes | None:
        """Some sizes that are as proven, the unknown ones as small as they can be; None where no sizes are.

        They give the checkpoint's names and shapes, unless something in it does not belong together.
        """
        values: dict[str, Any] = dict.fromkeys(_OPTIONAL)
        said = {**self.usual, **self.values}
        values |= {name: value for name, value in said.items() if name not in (PADDED, IS_GATED)}
        rows = said.get(PADDED)
        if "vocab_size" not in values or "vocab_multiple" not in values:
            values |= {"vocab_size": rows or 1, "vocab_multiple": 1}
        for equation in self.equations:
            if isinstance(equation, Product) and all(name not in self.values for name in equation.names):
                values |= {equation.names[0]: 1, equation.names[1]: equation.value}
        if "*" in self.symbols:
            values |= self._heads()
        gated = said.get(IS_GATED)
        free = {
            "activation": "swiglu" if gated else "relu",
            "moe_topk": 1,
            "dsa_index_topk": 1,
            "position_embedding": "none",
            "attention_output_gate": False,
            "qkv_bias": False,
        }
        values |= {name: value for name, value in free.items() if values.get(name) is None}
        try:
            return ModelSizes.from_mapping(values)
        except SizesError:
            return None

    def _heads(self) -> dict[str, Any]:
        """Heads, groups and head_dim that make the proven products: a head as wide as all keys together is always one."""
        found = dict(self.values)
        if "head_dim" in found and "num_query_groups" in found:
            return {}
        for name, value in (("attention_output_gate", False), ("num_query_groups", 1)):
            if name not in found:
                found[name] = value
            for _ in range(2):
                for equation in self.equations:
                    found |= {each: made for each, made in equation.solved(found).items() if each not in found}
        wanted = ("attention_output_gate", "num_query_groups", "head_dim", "num_attention_heads")
        return {name: found[name] for name in wanted if name in found}


_OPTIONAL = tuple(
    name
    for name, field in ModelSizes.__dataclass_fields__.items()
    if "None" in str(field.type) and name not in ("vocab_size", "position_embedding")
)


def infer(names: Shapes, *, distributed: bool = False) -> Inferred:
    """What canonical name → shape says. `distributed` for a checkpoint that was stored as one: its form hides some choices."""
    return infer_sorted(by_sublayer(names), distributed=distributed)


def infer_sorted(found: Sorted, *, distributed: bool = False) -> Inferred:
    """The same for names that are sorted already."""
    spelling = spelled(found)
    symbols = frozenset(symbol for held in found.symbols.values() for symbol in held)
    depths = found.depths
    gathered = _Gathered()
    whole = any(name.startswith("decoder.final_norm.") for name in found.outside)
    gathered.take(None, read_outside(found.outside, whole=whole))
    seen: dict[tuple[str, frozenset[tuple[str, Any]]], Reading] = {}
    for key in sorted(found.layers, key=lambda each: (each[0] is not None, each)):
        held, shapes = found.symbols[key], found.layers[key]
        for symbol in held:
            alike = (symbol, frozenset(shapes.items()))
            if alike not in seen:
                seen[alike] = read_layer(symbol, shapes)
            gathered.take(key, seen[alike])
    known, equations, findings, disagreeing, odd, usual = gathered.agreed()
    if distributed:
        known.pop("mla_down_proj_fusion", None)
    if len(depths) > 1:
        known["mtp_use_repeated_layer"] = Size("mtp_use_repeated_layer", False, FROM_SHAPES, f"{len(depths)} depths")
    if PADDED in known:
        equations.append(Padded(known[PADDED].value))
        if "position_embedding" not in known and "embedding.word_embeddings.weight" in found.outside:
            equations.append(_POSITIONS)
    return _solved(
        Inferred(
            spelling.pattern,
            symbols,
            known,
            tuple(equations),
            (*spelling.problems, *findings),
            frozenset(disagreeing),
            frozenset(odd),
            bool(depths),
            usual,
        )
    )


def say(value: Any) -> str:
    """A size's value in words.

    >>> say(None), say(True), say(64)
    ('none', 'true', '64')
    """
    return (
        {None: "none", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


# ------------------------------------------------------------------------------------------------------


class _Gathered:
    """What every layer says, until it is clear whether they agree."""

    def __init__(self) -> None:
        self.said: dict[str, dict[Any, list[tuple[Key | None, str]]]] = {}
        self.proven: dict[tuple[str, ...], dict[Equation, list[Key | None]]] = {}
        self.odd: dict[str, list[Key | None]] = {}

    def take(self, key: Key | None, reading: Reading) -> None:
        for name, (value, evidence) in reading.known.items():
            self.said.setdefault(name, {}).setdefault(value, []).append((key, evidence))
        for equation in reading.equations:
            self.proven.setdefault(equation.names, {}).setdefault(equation, []).append(key)
        for sentence in reading.odd:
            self.odd.setdefault(sentence, []).append(key)

    def agreed(self) -> tuple[dict[str, Size], list[Equation], list[str], set[str], set[Key], dict[str, Any]]:
        """Known sizes, equations, findings, sizes that layers disagree about, the layers in the minority, what others say."""
        known: dict[str, Size] = {}
        equations: list[Equation] = []
        findings: list[str] = []
        disagreeing: set[str] = set()
        minority: set[Key] = set()
        usual: dict[str, Any] = {}
        for name, values in self.said.items():
            if len(values) == 1:
                value, places = next(iter(values.items()))
                known[name] = Size(name, value, FROM_SHAPES, _evidence(*places[0]))
                continue
            most = max(values, key=lambda value: len(values[value]))
            disagreeing.add(name)
            usual[name] = most
            minority |= {key for value, places in values.items() if value != most for key, _ in places if key}
            said = (f"{say(value)} in {_places(key for key, _ in places)}" for value, places in values.items())
            findings.append(f"{name} is {' and '.join(said)}: a model has one")
        for names, each in self.proven.items():
            if len(each) == 1:
                equations.append(next(iter(each)))
            elif not (disagreeing & {*names, IS_GATED}):
                disagreeing |= set(names)
                said = (f"{equation.text} in {_places(keys)}" for equation, keys in each.items())
                findings.append(f"{' and '.join(said)}: a model has one")
                most = max(each, key=lambda equation: len(each[equation]))
                equations.append(most)
                minority |= {key for equation, keys in each.items() if equation != most for key in keys if key}
        findings += [f"{_places(keys)}: {sentence}" for sentence, keys in self.odd.items()]
        return known, equations, findings, disagreeing, minority, usual


def _solved(inferred: Inferred) -> Inferred:
    """With everything that follows from equations and known sizes."""
    known = dict(inferred.known)
    changed = True
    while changed:
        changed = False
        values = {name: size.value for name, size in known.items()}
        for equation in inferred.equations:
            for name, value in equation.solved(values).items():
                if name in known or name in inferred.disagreeing:
                    continue
                others = {known[each].source for each in equation.names if each in known} - {FROM_SHAPES}
                source = " and ".join((FROM_SHAPES, *sorted(others))) if others else FROM_SHAPES
                known[name] = Size(name, value, source, equation.text)
                changed = True
    return replace(inferred, known=known)


def _evidence(key: Key | None, evidence: str) -> str:
    if key is None:
        return evidence
    depth, index = key
    where = f"sub-layer {index}" if depth is None else f"MTP depth {depth + 1}, sub-layer {index}"
    return f"{where}: {evidence}"


def _places(keys: Iterable[Key | None]) -> str:
    found = list(keys)
    main = sorted(key[1] for key in found if key and key[0] is None)
    parts = ["outside of the layers"] if None in found else []
    if main:
        parts.append(f"{'sub-layer' if len(main) == 1 else 'sub-layers'} {ranges(main)}")
    if any(key and key[0] is not None for key in found):
        parts.append("MTP")
    return " and ".join(parts)
