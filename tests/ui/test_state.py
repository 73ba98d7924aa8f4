"""What the page is told, without a page."""

import json

import pytest

from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.ui.state import MOST_TOLD, compute, constants

SIZES = ModelSizes()
EXAMPLE = "M[*-]M[ME]|M-*-/[*-]"


def blocks(state):
    return ["".join(cell[0] for cell in block[3]) for frame in state["frames"] for block in frame["blocks"]]


def test_both_counts_come_first():
    facts = compute(EXAMPLE, SIZES)["facts"]
    assert facts[:5] == [
        ["8", "blocks"],
        ["10", "sub-layers"],
        ["2", "fused pairs"],
        ["2", "stages"],
        ["1", "MTP depth"],
    ]
    assert [label for _, label in facts[5:]] == ["parameters", "slowest stage / mean"]


def test_a_cell_knows_its_index_and_its_place_in_the_text():
    frames = compute(EXAMPLE, SIZES)["frames"]
    assert [(frame["label"], frame["mtp"]) for frame in frames] == [
        ("stage 0", False),
        ("stage 1", False),
        ("MTP", True),
    ]
    assert frames[0]["blocks"][1] == [1, True, False, [["*", 1, 2], ["-", 2, 3]]]
    assert frames[2]["blocks"] == [[0, True, False, [["*", 0, 17], ["-", 1, 18]]]]


def test_depths_of_mtp_repeat():
    frame = compute("M/[*-]/[*-]/[*-]", SIZES)["frames"][1]
    assert (frame["every"], frame["times"], frame["label"]) == (5, 3, "MTP ×3")
    assert compute("M/[*-]/*-", SIZES)["frames"][1]["times"] == 1, "depths that differ are not the same places"


def test_only_a_legal_pair_of_lone_neighbours_may_be_fused():
    (frame,) = compute("M-[M-]-M*-", SIZES)["frames"]
    assert [block[2] for block in frame["blocks"]] == [True, False, False, False, False, True, False]


def test_a_broken_text_shows_what_still_parses():
    before = compute("M-", SIZES)
    state = compute("M[*-]M[-E]|M-*[-", SIZES, before)
    assert state["sound"] is False
    assert blocks(state) == ["M", "*-", "M", "-", "E", "M", "-", "*", "-"]
    assert [(entry["code"], entry["span"], entry["fix"]) for entry in state["problems"]] == [
        ("group-order", "7", "remove the brackets"), ("unclosed-group", "14", "remove '['"),
    ]  # fmt: skip
    assert state["marks"] == [[7, 8, "error"], [14, 15, "error"]]
    assert state["cost"] == before["cost"], "the cost of the last good text stays"
    assert state["said"].startswith("2 problems. group-order at 7: a group starts with")


def test_pairs_are_said_in_one_line_and_not_underlined():
    state = compute("M-M-", SIZES)
    assert (state["pairs"], state["problems"], state["marks"]) == ("2 pairs could be one block each", [], [])
    assert compute("M-", SIZES)["pairs"] == "1 pair could be one block"


def test_cost_by_kind():
    cost = compute("M[*-]", SIZES)["cost"]
    rows = {row["kind"]: row for row in cost["rows"]}
    assert set(rows) >= {"mamba", "attention", "mlp"}
    assert sum(row["parameter_share"] for row in rows.values()) == pytest.approx(1)
    assert sum(row["flop_share"] for row in rows.values()) == pytest.approx(1)
    qkv = next(row for row in cost["weights"]["*-"][0] if row[0].endswith("linear_qkv.weight"))
    assert qkv == ["self_attention.linear_qkv.weight", "[128, 64]", "self_attention.linear_qkv.weight"]


def test_a_fused_mamba_lives_under_another_name():
    names = {stored: built for stored, _, built in compute("[M-]", SIZES)["cost"]["weights"]["M-"][0]}
    assert names["mixer.in_proj.weight"] == "self_attention.in_proj.weight"


def test_sizes_that_leave_something_out_are_named():
    cost = compute("ME", preset("Nemotron-H-8B").sizes)["cost"]
    assert "moe_experts" in cost["problem"]
    assert "nothing to count" in compute("", SIZES)["cost"]["problem"]


@pytest.mark.parametrize(
    "text",
    ["", "|", "/", "[", "]", "[[", "M//", "*+", "*-/M/", "<script>", '"><img onerror=alert(1)>', "\u202eM",
        "\ud800", "🙂M\n\t\0", "[" * 3000],
    ids=repr,
)  # fmt: skip
def test_any_text_has_a_state(text):
    state = compute(text, SIZES, compute("M", SIZES))
    assert state["text"] == text
    json.dumps(state)
    assert all(0 <= start <= end <= len(text) for start, end, _ in state["marks"])


def test_ten_thousand_hostile_characters_are_a_short_state():
    state = compute("<script>" * 1250, SIZES)
    assert len(state["problems"]) == MOST_TOLD
    assert state["more"] == 10_000 - MOST_TOLD
    assert state["marks"] == [[0, 10_000, "error"]]
    assert len(json.dumps(state)) < 20_000


def test_constants_name_every_kind_and_every_preset_that_can_be_built():
    known = constants()
    assert known["symbols"]["*"] | {"light": "", "dark": ""} == {
        "kind": "attention", "name": "self-attention", "glyph": "∗", "filled": True, "light": "", "dark": "",
        "on_light": "#FFFFFF", "on_dark": "#FFFFFF",
    }  # fmt: skip
    assert len(known["presets"]) > 10
    for name in known["presets"]:
        assert compute(str(preset(name).pattern), preset(name).sizes)["cost"].get("rows"), name
