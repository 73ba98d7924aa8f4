import pytest

from tests.contracts.architectures import ODD
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.state import inference_state, state_formulas
from workbench.errors import WorkbenchError
from workbench.pattern.symbols import SYMBOLS


def state(pattern, length=10, dtype="bf16", **options):
    return inference_state(Architecture(pattern, ModelSizes(**ODD), dtype=dtype), context_length=length, **options)


def terms(symbol, **options):
    (layer,) = state(symbol, **options).layers
    return [term.bytes for term in layer.terms]


def test_numbers_by_hand():
    assert terms("*") == [2 * 2 * 3 * 10 * 10]
    assert terms("M") == [2 * (180 + 72) * 4, 2 * 9 * 20 * 12]
    assert terms("G") == [2 * (2 * 42 + 132) * 5, 4 * 6 * 14 * 22]
    assert terms("+") == [2 * (18 + 6) * 10]
    assert terms("+", latent_cache=False) == [2 * 6 * (34 + 6 + 38) * 10]
    assert terms("D") == terms("D", latent_cache=False) == [2 * (18 + 6) * 10, 2 * 30 * 10]
    assert terms("-") == terms("E") == []


def test_fp32_doubles_all_but_the_delta_rules_state_which_is_fp32():
    for symbol in "*M+D":
        assert terms(symbol, dtype="fp32") == [2 * value for value in terms(symbol)]
    conv, rule = terms("G")
    assert terms("G", dtype="fp32") == [2 * conv, rule]


def test_the_scans_state_has_a_dtype_of_its_own():
    conv, scan = terms("M")
    assert terms("M", ssm_dtype="fp32") == [conv, 2 * scan]
    assert terms("M", dtype="fp32", ssm_dtype="bf16") == [2 * conv, scan]


def test_recurrences_do_not_grow_and_attention_does():
    assert state("MG", 1).total_bytes == state("MG", 10**6).total_bytes
    assert state("*", 20).total_bytes == 2 * state("*", 10).total_bytes
    assert state("*", 0).total_bytes == 0 < state("M", 0).total_bytes


def test_layers_sums_and_rows():
    found = state("M[*-]|MM[*E]/*")
    assert [layer.index for layer in found.layers] == list(range(7))
    assert [layer.stage for layer in found.layers] == [0, 0, 0, 1, 1, 1, 1]
    assert found.total_bytes == sum(layer.bytes for layer in found.layers)
    rows = found.by_kind_rows
    assert [(kind, number, what) for kind, number, _, what in rows] == [
        ("mamba", 3, "convolution: its last tokens"),
        ("mamba", 3, "scan: its state"),
        ("attention", 2, "keys and values"),
    ]
    assert sum(number * each for _, number, each, _ in rows) == found.total_bytes


def test_fusion_and_mtp_change_nothing():
    assert state("M[*-]").total_bytes == state("M*-").total_bytes == state("M*-/*-/*-").total_bytes


def test_every_formula_has_a_source():
    for symbol in SYMBOLS:
        for latent in (True, False):
            for formula in state_formulas(symbol, latent_cache=latent):
                assert formula.source


@pytest.mark.parametrize("value", [-1, 2.5, True, "8", None])
def test_contexts_that_cannot_be(value):
    with pytest.raises(WorkbenchError, match="context_length must be a whole number of at least 0 tokens"):
        state("M", value)


def test_dtypes_that_cannot_be():
    with pytest.raises(WorkbenchError, match="ssm_dtype must be one of bf16, fp32, not 'fp8'"):
        state("M", ssm_dtype="fp8")


def test_json():
    found = state("M-*").to_json()
    assert list(found) == ["context_length", "latent_cache", "total_bytes", "by_kind", "layers"]
    assert found["by_kind"][2] == {"kind": "attention", "layers": 1, "bytes_each": 1200, "what": "keys and values"}
    assert [layer["bytes"] for layer in found["layers"]] == [2016 + 4320, 0, 1200]
    assert found["layers"][2]["terms"][0]["formula"] == "w·2·g·d·s"
