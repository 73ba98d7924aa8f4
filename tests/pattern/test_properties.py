"""Properties that hold for any text, and for any valid pattern (hypothesis)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.pattern.checks import check
from workbench.pattern.diagnostics import CODES, PatternError, render
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import compressed, fuse_at, unfuse_at

anything = st.text("MG*D+-E[]|/ Qx", max_size=40) | st.text(st.characters(), max_size=40)
symbols = st.sampled_from(["MG*-E", "MGD+-E"])  # '*' never meets 'D' or '+'


@st.composite
def valid_patterns(draw):
    def section(alphabet):
        pairs = st.tuples(st.sampled_from(alphabet[:-2]), st.sampled_from("-E")).map(
            lambda pair: f"[{pair[0]}{pair[1]}]"
        )
        return "".join(draw(st.lists(st.sampled_from(alphabet) | pairs, max_size=8)))

    alphabet = draw(symbols)
    main = "|".join(section(alphabet) for _ in range(draw(st.integers(1, 4))))
    return main + f"/{section(draw(symbols))}" * draw(st.integers(0, 3))


def plain(blocks):
    return "".join(block.symbols for block in blocks)


@given(anything, st.integers(1, 4))
def test_check_never_raises_and_its_diagnostics_are_sound(text, ranks):
    diagnostics = check(text, ranks)
    assert [entry.start for entry in diagnostics] == sorted(entry.start for entry in diagnostics)
    for entry in diagnostics:
        assert entry.code in CODES
        assert 0 <= entry.start <= entry.end <= len(text)
        assert entry.message
        assert entry.hint
        if entry.fix is not None:
            assert 0 <= entry.fix.start <= entry.fix.end <= len(text)
            assert entry.fix.apply(text) != text
    assert len(set(diagnostics)) == len(diagnostics)
    render(text, diagnostics).encode()


@given(anything)
def test_a_pattern_is_refused_exactly_when_check_finds_an_error(text):
    diagnostics = check(text)
    if any(entry.severity == "error" for entry in diagnostics):
        with pytest.raises(PatternError) as caught:
            Pattern(text)
        assert caught.value.diagnostics == diagnostics
    else:
        assert str(Pattern(text)) == text


@given(anything)
def test_errors_and_warnings_never_come_together(text):
    assert len({entry.severity for entry in check(text)}) <= 1


@given(anything)
@settings(max_examples=200)
def test_applying_fixes_one_after_the_other_ends(text):
    for _ in range(4 * len(text) + 4):
        fix = next((entry.fix for entry in check(text) if entry.fix is not None), None)
        if fix is None:
            return
        text = fix.apply(text)
    raise AssertionError(f"the fixes go round in circles at {text!r}")


@given(valid_patterns())
def test_rewrites_keep_sublayers_stages_and_mtp(text):
    pattern = Pattern(text)
    for rewritten in (pattern.fused(), pattern.unfused()):
        assert [layer.symbol for layer in rewritten.sublayers] == [layer.symbol for layer in pattern.sublayers]
        assert [plain(stage) for stage in rewritten.stages] == [plain(stage) for stage in pattern.stages]
        assert (rewritten.mtp is None) == (pattern.mtp is None)
        if pattern.mtp is not None:
            assert rewritten.mtp.depths == pattern.mtp.depths
            assert plain(rewritten.mtp.blocks) == plain(pattern.mtp.blocks)
        assert rewritten.symbol_counts == pattern.symbol_counts


@given(valid_patterns())
def test_fused_and_unfused_are_idempotent_and_each_undoes_the_other(text):
    pattern = Pattern(text)
    assert pattern.fused().unfused() == pattern.unfused() == pattern.unfused().unfused()
    assert pattern.unfused().fused() == pattern.fused() == pattern.fused().fused()
    assert not [entry for entry in pattern.fused().warnings if entry.code == "unfused-pair"]


@given(valid_patterns())
def test_canonical_indices_count_up_and_blocks_cover_them(text):
    pattern = Pattern(text)
    assert [layer.index for layer in pattern.sublayers] == list(range(len(pattern.sublayers)))
    assert [block.index for block in pattern.blocks] == list(range(len(pattern.blocks)))
    assert [index for block in pattern.blocks for index in block.sublayers] == list(range(len(pattern.sublayers)))
    for layer in pattern.sublayers:
        assert layer.index in pattern.blocks[layer.block].sublayers
        assert text[layer.start] == layer.symbol


@given(valid_patterns())
def test_fusing_place_by_place_gives_fused_and_unfusing_gives_unfused(text):
    pattern = Pattern(text)
    fused, unfused = pattern, pattern
    for block in pattern.fused().blocks:
        if block.fused and not fused.blocks[fused.sublayers[block.sublayers[0]].block].fused:
            fused = fuse_at(fused, block.sublayers[0])
    for block in pattern.blocks:
        if block.fused:
            unfused = unfuse_at(unfused, block.sublayers[0])
    assert fused.main == pattern.fused().main
    assert unfused.main == pattern.unfused().main


@given(valid_patterns(), st.integers(1, 4))
def test_segments_of_all_ranks_joined_are_the_model(text, ranks):
    pattern = Pattern(text)
    if len(pattern.stages) % ranks:
        return
    virtual = len(pattern.stages) // ranks
    segments = [pattern.segment(rank, ranks, stage) for stage in range(virtual) for rank in range(ranks)]
    assert [block for segment in segments for block in segment.blocks] == list(pattern.blocks)
    offsets = [segment.offset for segment in segments]
    assert offsets == [sum(len(segment.symbols) for segment in segments[:n]) for n in range(len(segments))]


@given(valid_patterns())
def test_the_folded_form_is_never_longer(text):
    assert len(compressed(Pattern(text))) <= len(text)
