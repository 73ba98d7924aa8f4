import pytest
from hypothesis import given, settings

from tests.contracts.architectures import ODD, random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.cost.flop_letters import decode_letters, flop_letters
from workbench.cost.flop_terms import FORMS, MTP_PROJECTION, OUTPUT_LAYER
from workbench.cost.flops import SCANS, flop_terms, flops, flops_at_lengths
from workbench.errors import WorkbenchError
from workbench.pattern.symbols import SYMBOLS


def layer(symbol, length=64, **options):
    """Forward FLOPs a token of one layer with the odd sizes, term by term."""
    counted = flops(Architecture(symbol, ModelSizes(**ODD)), sequence_length=length, **options)
    (part,) = (part for part in counted.parts if part.terms and part.kind != "output layer")
    return [term.forward for term in part.terms]


# ------------------------------------------------------------------------------- numbers by hand


def test_mamba_counts_heads_times_width():
    inner, groups = 9 * 20, 3 * 12
    assert layer("M", mamba_chunk=32) == [
        2 * 48 * (2 * inner + 2 * groups + 9),
        2 * 4 * (inner + 2 * groups),
        2 * groups * 32,
        2 * inner * 32,
        2 * inner * 12,
        2 * inner * 12,
        2 * inner * 48,
    ]
    assert layer("M", scan="recurrent")[2] == 5 * inner * 12


def test_gated_delta_net():
    keys, values = 3 * 14, 6 * 22
    assert layer("G", delta_chunk=32) == [
        2 * 48 * (2 * keys + 2 * values + 2 * 6),
        2 * 5 * (2 * keys + values),
        2 * 6 * 14 * 32,
        6 * 31 * (14 + 22),
        2 * 6 * 14 * 32,
        2 * 6 * 14 * 22,
        2 * 6 * 14 * 22,
        2 * 6 * 22 * 32,
        2 * 6 * 14 * 22,
        2 * 48 * values,
    ]
    assert layer("G", scan="recurrent")[2] == 7 * 6 * 14 * 22


def test_attention_halves_what_is_masked():
    causal, full = layer("*"), layer("*", causal=False)
    assert causal == [2 * 48 * (6 + 2 * 3) * 10, 2 * 60 * 32.5, 2 * 60 * 32.5, 2 * 48 * 60]
    assert full[1:3] == [2 * 60 * 64] * 2
    assert causal[0] == full[0]


def test_sparse_attention_keeps_a_few_keys():
    # 8 keys are kept; the first seven queries see fewer.
    kept = (1 + 2 + 3 + 4 + 5 + 6 + 7 + 57 * 8) / 64
    found = dict(zip([term.name for term in flop_terms("D")], layer("D"), strict=True))
    assert found["scores: queries on compressed keys"] == 2 * 6 * (18 + 6) * kept
    assert found["context: scores on compressed values"] == 2 * 6 * 18 * kept
    assert found["indexer: scores of the keys"] == 2 * 5 * 30 * 32.5
    longer = dict(zip([term.name for term in flop_terms("D")], layer("D", causal=False), strict=True))
    assert longer["scores: queries on compressed keys"] == 2 * 6 * (18 + 6) * 8


def test_experts_are_counted_top_k_times_and_the_router_once():
    assert layer("E") == [
        2 * 48 * 7, 0, 2 * 2 * 48 * 36 * 2, 2 * 2 * 48 * 36, 2 * 48 * 40 * 2, 2 * 48 * 40, 0,
    ]  # fmt: skip
    latent = ModelSizes(**{**ODD, "moe_latent_size": 16})
    (part,) = (part for part in flops(Architecture("E", latent), sequence_length=8).parts if part.kind == "moe")
    assert [term.forward for term in part.terms][1:4] == [4 * 48 * 16, 2 * 2 * 16 * 36 * 2, 2 * 2 * 16 * 36]


def test_the_output_layer_has_the_padded_vocabulary():
    sizes = ModelSizes(vocab_size=101, vocab_multiple=64)
    for tied in (True, False):
        found = flops(Architecture("M", ModelSizes(**{**sizes.to_json(), "tied_embeddings": tied})), sequence_length=8)
        assert found.by_kind["output layer"] == 2 * 64 * 128
        assert found.by_kind["embedding"] == 0


# ---------------------------------------------------------------------------- training, MTP, stages


@pytest.mark.parametrize("pattern", ["M[*-]M[ME]", "G-/*-/*-", "[+E]"])
@pytest.mark.parametrize("scan", SCANS)
def test_training_is_three_forward_passes(pattern, scan):
    found = flops(Architecture(pattern), sequence_length=100, scan=scan)
    assert found.training_per_token == 3 * found.forward_per_token


def test_full_recomputation_is_a_fourth_of_the_layers():
    plain, again = (flops(Architecture("M[*-]"), sequence_length=100, recompute=how) for how in ("none", "full"))
    output = plain.by_kind["output layer"]
    assert again.training_per_token == 4 * (plain.forward_per_token - output) + 3 * output
    assert again.forward_per_token == plain.forward_per_token


def test_a_depth_of_mtp_recomputes_its_layers_twice():
    plain = flops(Architecture("M/*-"), sequence_length=100)
    projection, attention, mlp, output = (part.forward for part in plain.parts if part.depth is not None)
    assert plain.by_kind["mtp"] == projection + attention + mlp + output
    again = flops(Architecture("M/*-"), sequence_length=100, recompute="full")
    assert again.recomputed_per_token == plain.by_kind["mamba"] + projection + 2 * (attention + mlp)


def test_the_indexer_learns_on_detached_inputs_and_its_loss_is_not_inference():
    found = flops(Architecture("D"), sequence_length=100)
    without = flops(Architecture("D", ModelSizes(dsa_index_loss_coeff=0.0)), sequence_length=100)
    assert found.training_per_token < 3 * found.forward_per_token
    assert found.prefill_per_token == without.prefill_per_token == without.forward_per_token < found.forward_per_token


@pytest.mark.parametrize("repeated", [True, False])
def test_every_depth_runs(repeated):
    sizes = ModelSizes(mtp_use_repeated_layer=repeated)
    one, two = (flops(Architecture(pattern, sizes), sequence_length=64) for pattern in ("M/*E", "M/*E/*E"))
    assert two.by_kind["mtp"] == 2 * one.by_kind["mtp"]
    assert one.by_kind["mtp"] > one.by_kind["output layer"]
    assert one.prefill_per_token == two.prefill_per_token == two.forward_per_token - two.by_kind["mtp"]
    assert [part.name for part in two.parts if part.kind == "output layer"] == [
        "output layer", "MTP depth 1, output layer", "MTP depth 2, output layer",
    ]  # fmt: skip


def test_stages():
    found = flops(Architecture("M|*-|/*"), sequence_length=64)
    assert found.by_stage[0] == found.by_kind["mamba"]
    assert found.by_stage[1] == found.by_kind["attention"] + found.by_kind["mlp"]
    assert found.by_stage[2] == found.by_kind["output layer"] + found.by_kind["mtp"]


@given(random_cases())
@settings(max_examples=60, deadline=None)
def test_break_downs_sum_and_fusion_changes_nothing(case):
    pattern, fields = case
    architecture = Architecture(pattern, ModelSizes(**fields))
    found = flops(architecture, sequence_length=50)
    assert sum(found.by_kind.values()) == pytest.approx(found.forward_per_token)
    assert sum(found.by_stage) == pytest.approx(found.forward_per_token)
    layers = [part for part in found.parts if part.block is not None and part.depth is None]
    assert sum(found.by_block) == pytest.approx(sum(part.forward for part in layers))
    unfused = flops(Architecture(architecture.pattern.unfused(), architecture.sizes), sequence_length=50)
    assert unfused.forward_per_token == found.forward_per_token
    assert unfused.training_per_token == found.training_per_token


# ------------------------------------------------------------------------------------- of the length


def test_decoding_is_linear_in_the_context_where_something_attends():
    found = flops(Architecture("M[*-]G", ModelSizes(**ODD)), sequence_length=8)
    values = [found.decode_per_token(length) for length in (1, 101, 201)]
    assert values[1] - values[0] == values[2] - values[1] == 100 * 4 * 6 * 10
    assert len({flops(Architecture("MG"), sequence_length=8).decode_per_token(length) for length in (1, 9, 10**6)}) == 1


def test_decoding_on_latents_or_on_every_heads_keys():
    found = flops(Architecture("+", ModelSizes(**ODD)), sequence_length=8)
    latents = found.decode_per_token(101) - found.decode_per_token(1)
    heads = found.decode_per_token(101, latent_cache=False) - found.decode_per_token(1, latent_cache=False)
    assert latents == 100 * 2 * 6 * (18 + 6 + 18)
    assert heads == 100 * 2 * 6 * (34 + 6 + 38)


def test_decoding_sparse_attention_reads_what_it_keeps():
    found = flops(Architecture("D", ModelSizes(**ODD)), sequence_length=8)
    assert found.decode_per_token(1000) - found.decode_per_token(900) == 100 * 2 * 5 * 30


def test_decoding_runs_no_mtp_and_no_loss():
    with_mtp, without = (flops(Architecture(pattern), sequence_length=8) for pattern in ("D/D", "D"))
    assert with_mtp.decode_per_token(64) == without.decode_per_token(64)
    assert not any(term.training_only or term.backward for part in with_mtp.decode(64) for term in part.terms)


def test_as_a_function_of_the_length():
    architecture = Architecture("M[*-]")
    found = flops_at_lengths(architecture, [1, 64, 4096], causal=False)
    assert [entry.length for entry in found] == [1, 64, 4096]
    for entry in found:
        counted = flops(architecture, sequence_length=entry.length, causal=False)
        assert entry.forward == counted.forward_per_token
        assert entry.training == counted.training_per_token
        assert entry.prefill == counted.prefill_per_token
        assert entry.decode == counted.decode_per_token(entry.length)
    assert found[0].forward < found[1].forward < found[2].forward


def test_chunks_are_never_longer_than_the_sequence():
    assert layer("M", 64, mamba_chunk=128) == layer("M", 64, mamba_chunk=64)
    assert layer("M", 4096) == layer("M", 4096, mamba_chunk=128)
    assert layer("G", 4096) == layer("G", 4096, delta_chunk=64)


def test_the_last_chunk_of_the_local_scan_is_as_short_as_it_comes():
    local = layer("M", 129, executed="local")
    assert local[2] * 129 == pytest.approx(2 * 3 * 12 * (2 * 64 * 64 + 1))
    assert layer("M", 129)[2] == 2 * 3 * 12 * 128


# ----------------------------------------------------------------------------- formulas and errors


def every_term():
    for symbol in SYMBOLS:
        for form in FORMS:
            for term in flop_terms(symbol, form):
                yield symbol, form, term


def test_every_formula_has_a_source():
    terms = [term for *_, term in every_term()]
    for term in (*terms, *OUTPUT_LAYER, *MTP_PROJECTION):
        assert term.source


def test_letters_have_values():
    sizes = ModelSizes()
    training = flop_letters(sizes, sequence_length=8, causal=True, chunk=4).keys()
    decoding = decode_letters(sizes, context_length=8).keys()
    for _, form, term in every_term():
        assert term.forward.letters | term.backward.letters <= training
        if form.startswith("decode") and not term.training_only:
            assert term.forward.letters <= decoding


def test_names_of_terms_are_told_apart():
    for symbol in SYMBOLS:
        for form in FORMS:
            names = [term.name for term in flop_terms(symbol, form)]
            assert len(set(names)) == len(names)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
@pytest.mark.parametrize("name", ["sequence_length", "mamba_chunk", "delta_chunk"])
def test_lengths_that_cannot_be(name, value):
    with pytest.raises(WorkbenchError, match=name):
        flops(Architecture("MG"), **{"sequence_length": 8, name: value})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scan": "fast"}, "scan must be one of chunked, recurrent, not 'fast'"),
        ({"executed": "te"}, "executed must be one of model, local, not 'te'"),
        ({"recompute": "some"}, "recompute must be one of none, full, not 'some'"),
        ({"executed": "local", "causal": True}, "leave out causal=True"),
        ({"executed": "local", "scan": "recurrent"}, "leave out scan='recurrent'"),
    ],
)
def test_options_that_cannot_be(options, text):
    with pytest.raises(WorkbenchError, match=text):
        flops(Architecture("M"), sequence_length=8, **options)


def test_other_arguments_that_cannot_be():
    with pytest.raises(WorkbenchError, match="context_length must be a whole number of at least 1 token, not 0"):
        flops(Architecture("M"), sequence_length=8).decode(0)
    with pytest.raises(WorkbenchError, match="symbol"):
        flop_terms("X")
    with pytest.raises(WorkbenchError, match="form"):
        flop_terms("M", "fast")


def test_json():
    found = flops(Architecture("M[*-]"), sequence_length=8).to_json()
    assert list(found) == [
        "sequence_length", "causal", "scan", "executed", "recompute", "not_counted", "forward_per_token",
        "training_per_token", "prefill_per_token", "by_kind", "by_stage", "by_block", "parts",
    ]  # fmt: skip
    assert sum(part["forward"] for part in found["parts"]) == found["forward_per_token"]
    (attention,) = (part for part in found["parts"] if part["kind"] == "attention")
    assert attention["terms"][1]["formula"] == "2·a·d·keys"


def test_a_dense_model_costs_six_flops_a_parameter_and_its_attention():
    """The rule of thumb: 6 · parameters, of which a token meets all but the embedding, and 12 · layers · width · s / 2."""
    entry = preset("Llama-3-8B")
    found = flops(Architecture(entry.pattern, entry.sizes), sequence_length=8192)
    parameters = 8_030_261_248 - 128_256 * 4096 - (2 * 32 + 1) * 4096
    assert found.training_per_token == 6 * parameters + 12 * 32 * 4096 * 8193 / 2
