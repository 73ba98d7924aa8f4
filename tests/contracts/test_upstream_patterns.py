"""Bracket-free patterns mean what the installed megatron-core says they mean: acceptance, counts, segments, symbols."""

from dataclasses import fields
from itertools import product
from random import Random
from types import SimpleNamespace

import pytest

import workbench.fusion  # noqa: F401  (first: it makes megatron importable without CUDA)

# isort: split
from megatron.core.models.hybrid import hybrid_layer_allocation as upstream
from megatron.core.models.hybrid.hybrid_block import HybridStackSubmodules

from workbench.errors import WorkbenchError
from workbench.pattern.checks import check
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SYMBOLS

RANKS = range(1, 5)
VIRTUAL = (None, 0, 1, 2, 3)


def generated_patterns():
    """Every short text over the letters that matter, then random longer ones, mostly valid, some broken."""
    texts = ["".join(letters) for size in range(5) for letters in product("M*D-|/Q", repeat=size)]
    random = Random(20_26)
    for _ in range(1_500):
        alphabet = random.choice(["MG*-E", "MGD+-E", "MG*D+-E", "MG*-EQ m"])
        main = "|".join("".join(random.choices(alphabet, k=random.randint(0, 6))) for _ in range(random.randint(1, 8)))
        depth = "".join(random.choices(random.choice(["MG*-E", "MD+-E", alphabet, "M|"]), k=random.randint(0, 4)))
        tail = [depth] * random.choice([0, 0, 1, 2, 3])
        if tail and random.random() < 0.2:
            tail[-1] = random.choice(["", depth + "M", depth[:-1]])
        texts.append("/".join([main, *tail]))
    return list(dict.fromkeys(texts))


TEXTS = generated_patterns()


def outcome(function, *arguments):
    """What a function answers, or "refused" for a `ValueError` (of upstream's, or ours, which is one too)."""
    try:
        return function(*arguments)
    except ValueError:
        return "refused"


# ------------------------------------------------------------------------------- what each side says


def parsed_upstream(text):
    parsed = upstream.parse_hybrid_pattern(text)
    return parsed.main_pattern or "", parsed.mtp_pattern, parsed.mtp_num_depths


def parsed_ours(text, pattern_class=Pattern):
    pattern = pattern_class(text)
    mtp = pattern.mtp
    return pattern.main, mtp and str(mtp), mtp.depths if mtp else 0


def counted_upstream(text):
    upstream.parse_hybrid_pattern(text)
    return (
        upstream.get_hybrid_layer_counts(text),
        upstream.get_hybrid_total_layer_count(text),
        upstream.get_hybrid_total_pipeline_segment_count(text),
    )


def counted_ours(text, pattern_class=Pattern):
    pattern = pattern_class(text)
    return pattern.symbol_counts, pattern.counts["sublayers"], pattern.counts["stages"]


def stages_upstream(text):
    upstream.parse_hybrid_pattern(text)
    return [upstream.validate_segment_layers(segment) for segment in text.split("/")[0].split("|")]


def stages_ours(text, pattern_class=Pattern):
    return [[layer.symbol for block in stage for layer in block.layers] for stage in pattern_class(text).stages]


def segment_upstream(text, rank, ranks, virtual_stage):
    main = upstream.parse_hybrid_pattern(text).main_pattern or ""
    layers, offset = upstream.select_pipeline_segment(main, SimpleNamespace(rank=rank, size=ranks), virtual_stage)
    return "".join(layers), offset


def segment_ours(text, rank, ranks, virtual_stage, pattern_class=Pattern):
    segment = pattern_class(text).segment(rank, ranks, virtual_stage)
    return segment.symbols, segment.offset


@pytest.fixture
def pipeline(monkeypatch):
    """Process groups are plain objects with a rank and a size, in upstream's module only; and it logs nothing."""
    distributed = SimpleNamespace(get_rank=lambda group: group.rank, get_world_size=lambda group: group.size)
    monkeypatch.setattr(upstream, "torch", SimpleNamespace(distributed=distributed))
    for name in ("log_single_rank", "log_on_each_pipeline_stage"):
        monkeypatch.setattr(upstream, name, lambda *arguments, **options: None)


def differences(theirs, ours, cases):
    """The cases on which the two disagree, with both answers."""
    answers = ((case, outcome(theirs, *case), outcome(ours, *case)) for case in cases)
    return [answer for answer in answers if answer[1] != answer[2]]


def whole(texts):
    return [(text,) for text in texts]


def divided(texts):
    return [
        (text, rank, ranks, virtual_stage)
        for text in texts
        for ranks in RANKS
        for rank in range(ranks)
        for virtual_stage in VIRTUAL
    ]


# Every tenth of the short ones and all of the long ones: the product with ranks and virtual stages is large.
DIVIDED = [text for number, text in enumerate(TEXTS) if len(text) > 4 or number % 10 == 0][::3]


# ---------------------------------------------------------------------------------------- the contract


def test_the_generated_patterns_are_valid_and_broken_ones_in_good_number():
    accepted = sum(outcome(parsed_upstream, text) != "refused" for text in TEXTS)
    assert accepted > 800
    assert len(TEXTS) - accepted > 800


def test_the_same_patterns_are_accepted_and_read_alike():
    assert differences(parsed_upstream, parsed_ours, whole(TEXTS)) == []


def test_check_finds_an_error_exactly_where_upstream_raises():
    disagree = [
        text
        for text in TEXTS
        if (outcome(parsed_upstream, text) == "refused") != any(entry.severity == "error" for entry in check(text))
    ]
    assert disagree == []


def test_layers_and_stages_are_counted_alike():
    assert differences(counted_upstream, counted_ours, whole(TEXTS)) == []


def test_every_stage_holds_the_same_layers():
    assert differences(stages_upstream, stages_ours, whole(TEXTS)) == []


def test_every_rank_and_virtual_stage_builds_the_same_segment_at_the_same_offset(pipeline):
    cases = divided(DIVIDED)
    assert differences(segment_upstream, segment_ours, cases) == []
    answers = [outcome(segment_upstream, *case) for case in cases]
    assert answers.count("refused") > 1_000
    assert sum(len(answer[0]) > 0 for answer in answers if answer != "refused") > 1_000


def test_a_fused_pattern_is_divided_like_its_unfused_twin():
    staged = [text for text in DIVIDED if "|" in text and outcome(Pattern, text) != "refused"]
    assert len(staged) > 100
    for text in staged[:100]:
        for case in divided([text]):
            assert outcome(segment_ours, str(Pattern(text).fused()), *case[1:]) == outcome(segment_ours, *case)


# ------------------------------------------------------------------------ the contract can be broken


class ForgetsMixedAttention(Pattern):
    """Wrong on purpose: takes `+` and `D` beside `*`."""

    def __init__(self, text):
        super().__init__(text.replace("D", "G").replace("+", "G"))


class RefusesEmptyStages(Pattern):
    """Wrong on purpose: an empty stage is an error."""

    def __init__(self, text):
        super().__init__(text)
        if any(entry.code == "empty-stage" for entry in self.warnings):
            raise WorkbenchError("an empty stage")


class CountsMtpOnce(Pattern):
    """Wrong on purpose: MTP layers are not counted once a depth."""

    @property
    def symbol_counts(self):
        return {symbol: self.text.split("/M/")[0].count(symbol) for symbol in SYMBOLS}


class SwapsRanksAndVirtualStages(Pattern):
    """Wrong on purpose: neighbouring stages land on one rank."""

    def segment(self, rank, pipeline_size, virtual_stage=None):
        if not virtual_stage or len(self.stages) % pipeline_size:
            return super().segment(rank, pipeline_size, virtual_stage)
        return super().segment(virtual_stage, pipeline_size, rank)


@pytest.mark.parametrize(
    ("theirs", "ours", "wrong", "witness"),
    [
        (parsed_upstream, parsed_ours, ForgetsMixedAttention, ("*D",)),
        (parsed_upstream, parsed_ours, RefusesEmptyStages, ("M|",)),
        (counted_upstream, counted_ours, CountsMtpOnce, ("/M/M",)),
        (stages_upstream, stages_ours, ForgetsMixedAttention, ("*D",)),
        (segment_upstream, segment_ours, SwapsRanksAndVirtualStages, ("M|*|-|E", 0, 2, 1)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_parser_is_found_out(pipeline, theirs, ours, wrong, witness):
    texts = [text for text in (*TEXTS[:400], witness[0]) if "Q" not in text]
    cases = divided(texts[-20:]) if len(witness) > 1 else whole([*texts, witness[0]])
    found = [case for case, _, _ in differences(theirs, lambda *case: ours(*case, pattern_class=wrong), cases)]
    assert witness in found


# ------------------------------------------------------------------------------------------- the table


def test_the_symbol_table_holds_exactly_upstreams_layers():
    assert set(SYMBOLS) == upstream.Symbols.VALID_LAYERS
    assert sorted(SYMBOLS) == sorted(upstream.Symbols.name_sorted_valid_layer_symbols())


@pytest.mark.parametrize("row", SYMBOLS.values(), ids=lambda row: row.kind)
def test_every_symbol_is_built_by_a_field_of_upstreams_stack(row):
    assert row.spec_slot in {field.name for field in fields(HybridStackSubmodules)}
