"""What notebook cells end with: tables keep every digit and escape every text, findings name each difference."""

from workbench.compare.verdict import Check, Difference
from workbench.views.display import findings, table

PASSED = Check("initial_weights", "The same weights?", True, "46 tensors: identical bits")
FAILED = Check(
    "logits",
    "The same logits?",
    False,
    "1 difference, in sub-layer 1",
    {"differences": 1},
    differences=(Difference("decoder.layers.1", "sub-layer 1, self-attention", "value", max_abs=1.2e-7, max_ulp=1),),
)
NOT_RUN = Check("resume", "Does it go on?", None, "not run: no disk")


def test_table_keeps_every_digit():
    shown = str(table("Losses.", ["step", "loss", "equal"], [(1, 4.868778705596924, True), (2, None, False)]))
    assert shown.splitlines() == [
        "Losses.",
        "  step               loss  equal",
        "  ────  ─────────────────  ─────",
        "     1  4.868778705596924  yes",
        "     2                  –  no",
    ]


def test_numbers_with_their_unit_stand_below_each_other():
    columns = ["bytes", "share", "factor", "words"]
    shown = str(
        table("Quantities.", columns, [("1.86 TiB", "< 0.1 %", "×7.35", "4 GB left"), ("0 B", "12.5 %", "×10.0", "–")])
    )
    assert shown.splitlines()[3:] == [
        "  1.86 TiB  < 0.1 %   ×7.35  4 GB left",
        "       0 B   12.5 %   ×10.0  –",
    ]


def test_backquoted_column_is_code_and_its_text_is_escaped():
    html = table("Names.", ["`name`", "in words"], [("<b>", "<i>")])._repr_mimebundle_()["text/html"]
    assert "<code>&lt;b&gt;</code>" in html
    assert ">name</th>" in html
    assert "<i>" not in html


def test_table_without_rows_is_a_table():
    assert str(table("Nothing.", ["a"], [])).startswith("Nothing.")


def test_findings_say_passed_failed_and_not_run():
    shown = str(findings(PASSED, FAILED, NOT_RUN))
    assert "✓ passed: initial weights: 46 tensors: identical bits" in shown
    assert "✗ failed: 1 difference, in sub-layer 1" in shown
    assert "sub-layer 1, self-attention" in shown
    assert "– not run: no disk" in shown


def test_both_forms_are_offered():
    assert set(findings(FAILED)._repr_mimebundle_()) == {"text/plain", "text/html"}
