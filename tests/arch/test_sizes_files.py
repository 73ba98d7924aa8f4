"""Sizes from mappings and JSON files, and the published presets as they stand."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.arch.presets import DATA
from workbench.arch.sizes import ACTIVATIONS, ModelSizes, SizesError

# Published architectures that have a pattern and fields: the presets as they stand in the package.
PRESETS: dict[str, Any] = {
    entry["name"]: entry for entry in json.loads(DATA.read_text("utf-8")) if entry["pattern"] and entry["fields"]
}


def test_unknown_fields_are_named_with_the_known_ones():
    with pytest.raises(SizesError) as caught:
        ModelSizes.from_mapping({"zeta": 1, "hiden_size": 64, "hidden_size": 64})
    assert str(caught.value).startswith("unknown field 'hiden_size', 'zeta'; the fields are activation, attention_")


@pytest.mark.parametrize("data", [[], 5, "text", None])
def test_what_is_no_mapping(data):
    with pytest.raises(SizesError) as caught:
        ModelSizes.from_mapping(data)
    assert str(caught.value) == f"sizes must be an object of field names and values, not {type(data).__name__}"


def test_the_callers_mapping_is_left_alone():
    data = {"activation": "gelu (default)"}
    assert ModelSizes.from_mapping(data).activation == "gelu"
    assert data == {"activation": "gelu (default)"}


@pytest.fixture
def refused_file(tmp_path):
    def of(content: bytes | None) -> str:
        path = tmp_path / "sizes.json"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SizesError) as caught:
            ModelSizes.from_json(path)
        said = str(caught.value)
        assert said.startswith(f"{path}: ")
        return said.removeprefix(f"{path}: ")

    return of


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "line 1, column 1: Expecting value"),
        (b'{\n "hidden_size" 64}', "line 2, column 16: Expecting ':' delimiter"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (b'{"activation": "\xe9"}', "not UTF-8 text"),
        (b"[]", "sizes must be an object of field names and values, not list"),
        (b'{"hidden_size": "64"}', "hidden_size must be a whole number of at least 1, not '64'"),
        (b'{"hidden_size": null}', "hidden_size must be given"),
        (b'{"norm_epsilon": NaN}', "norm_epsilon must be a number of at least 0, not nan"),
    ],
)
def test_files_that_are_wrong(refused_file, content, said):
    assert refused_file(content) == said


def test_files_that_are_wrong_and_large(refused_file):
    assert "digits" in refused_file(b'{"hidden_size": ' + b"9" * 5000 + b"}")
    assert "recursion" in refused_file(b"[" * 200_000)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SizesError, match="Is a directory"):
        ModelSizes.from_json(tmp_path)


def test_a_byte_order_mark_is_read_over(tmp_path):
    (tmp_path / "sizes.json").write_bytes(b'\xef\xbb\xbf{"hidden_size": 128}')
    assert ModelSizes.from_json(str(tmp_path / "sizes.json")) == ModelSizes(hidden_size=128)


def test_an_empty_object_is_the_defaults(tmp_path):
    (tmp_path / "sizes.json").write_text("{}")
    assert ModelSizes.from_json(tmp_path / "sizes.json") == ModelSizes()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "hidden_size": st.integers(1, 64).map(lambda units: 64 * units),
            "vocab_size": st.none() | st.integers(1, 10**6),
            "moe_shared_ffn": st.none() | st.integers(1, 10**5),
            "q_lora_rank": st.none() | st.integers(1, 4096),
            "tied_embeddings": st.booleans(),
            "norm_epsilon": st.floats(0, 1),
            "activation": st.none() | st.sampled_from(ACTIVATIONS),
            "position_embedding": st.sampled_from([None, "none", "rope", "rope 50%", "rope (yarn)"]),
        },
    )
)
def test_round_trip(values):
    sizes = ModelSizes(**values)
    assert ModelSizes.from_mapping(json.loads(json.dumps(sizes.to_json()))) == sizes
    assert list(sizes.to_json()) == [field.name for field in fields(ModelSizes)]


# -- the presets


@pytest.mark.parametrize("name", PRESETS)
def test_published_fields_load_as_they_are(name, tmp_path):
    published = PRESETS[name]["fields"]
    (tmp_path / "sizes.json").write_text(json.dumps(published))
    sizes = ModelSizes.from_json(tmp_path / "sizes.json")
    found = {field: getattr(sizes, field) for field in published}
    assert found == published


def test_there_are_presets():
    assert len(PRESETS) > 20
    assert {symbol for preset in PRESETS.values() for symbol in preset["pattern"]} >= set("MG*D+-E")


def test_fields_of_a_symbol_that_is_not_released_are_refused():
    with pytest.raises(SizesError, match=r"^unknown field 'kda_conv_kernel', 'kda_head_dim', 'kda_num_heads'; "):
        ModelSizes.from_mapping({"kda_num_heads": 32, "kda_head_dim": 128, "kda_conv_kernel": 4})
