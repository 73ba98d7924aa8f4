import json
from dataclasses import replace

import workbench
from workbench.compare.verdict import Verdict
from workbench.render import html, text
from workbench.views.verdict import check_line, document, headline, mimebundle

from ..render.pages import assert_self_contained
from .verdicts import BAD, EMPTY, GOOD


def test_headlines():
    assert headline(GOOD) == "✓ EQUIVALENT: 2 of 2 checks passed, bitwise"
    assert headline(BAD) == "✗ NOT EQUIVALENT: 2 of 5 checks passed; failed: first gradients, training; not run: resume"
    assert headline(EMPTY) == "✗ NOT EQUIVALENT: no check was run"


def test_bitwise_is_said_only_when_nothing_was_tolerated():
    tolerated = replace(GOOD, environment={"tolerance": "atol 0.001, rtol 0"})
    assert headline(tolerated) == "✓ EQUIVALENT: 2 of 2 checks passed, within atol 0.001, rtol 0"
    assert headline(replace(GOOD, environment={})) == "✓ EQUIVALENT: 2 of 2 checks passed"


def test_one_check_that_did_not_run_is_not_equivalent():
    not_run = replace(GOOD, checks=(*GOOD.checks, BAD.checks[-1]))
    assert headline(not_run) == "✗ NOT EQUIVALENT: 2 of 3 checks passed; not run: resume"


def test_whole_text_of_a_good_verdict():
    assert (
        text.render(document(GOOD))
        == """\
Verdict on the twins

✓ EQUIVALENT: 2 of 2 checks passed, bitwise

The twins
  Left twin
    2 blocks · 3 sub-layers · 1 fused pair · 1,310,720 parameters

      M[*-]

      stage 0
      M [* -]
      0  1 2

  Right twin
    3 blocks · 3 sub-layers · 0 fused pairs · 1,310,720 parameters

      M*-

      stage 0
      M * -
      0 1 2

Checks
  Every check, in the order it ran. A check that could not run is not a pass.
    outcome   check   measured                        time
    ────────  ──────  ────────────────────────────  ──────
    ✓ passed  logits  2,048 logits: identical bits  412 ms
    ✓ passed  loss    1 number: identical bits        2 ms

Obtained with
  What the answer was obtained with: the same again gives the same verdict.
    what       name   value
    ─────────  ─────  ───────
    backend           local
    seed              1234
    tolerance         bitwise
    versions   torch  2.9.0
    digests    left   0f34
               right  0f34

Time
  Where the time went.
    part      time
    ──────  ──────
    import  8.21 s
    build   1.90 s
    checks  < 1 ms
"""
    )


def test_differences_in_numbers():
    page = text.render(document(BAD), width=140)
    section = page[page.index("What is not the same") : page.index("Obtained with")]
    assert (
        section
        == """\
What is not the same
  first gradients
    ✗ failed: 2 of 61 differ

    Is every gradient the same?

    The first 2 of 7 differences, in the order of the model.
      name                                               place                 problem   mismatched   max abs  max rel  max ULP  first at
      ─────────────────────────────────────────────────  ────────────────────  ───────  ───────────  ────────  ───────  ───────  ────────
      decoder.layers.1.self_attention.linear_qkv.weight  sub-layer 1           value    12 of 4,096  1.19e-07  2.5e-07        2   [0, 17]
      decoder.layers.0.mixer.A_log                       sub-layer 0, Mamba-2  nan           1 of 8       nan        –        –       [4]

  training
    ✗ failed: 1 is missing

    Are all parameters the same?

    1 difference, in the order of the model.
      name                                    place            problem
      ──────────────────────────────────────  ───────────────  ─────────────────────────
      decoder.<script>alert(1)</script>␛[31m  the whole model  missing: only on the left

  resume
    – not run: no disk

    Can it be resumed?

"""
    )


def test_html_is_self_contained_and_escaped():
    page = assert_self_contained(html.render(document(BAD)))
    assert "decoder.<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
    for said in ("NOT EQUIVALENT", "not run", "1,310,720", "TransformerLayer [*-]", "size 19", "8.21 s"):
        assert said in page.text


def test_a_pattern_that_is_none_leaves_the_rest():
    foreign = replace(GOOD, left=replace(GOOD.left, pattern="<nonsense>"))
    assert "&lt;nonsense&gt;" in html.render(document(foreign))


def test_a_verdict_from_a_file_looks_the_same():
    again = Verdict.from_json(json.loads(json.dumps(BAD.to_json())))
    assert html.render(document(again)) == html.render(document(BAD))


def test_check_lines_are_aligned():
    assert [check_line(check) for check in (BAD.checks[0], BAD.checks[3], BAD.checks[4])] == [
        "✓ passed   logits: 2,048 logits: identical bits (412 ms)",
        "✗ failed   training: 1 is missing (2.50 s)",
        "– not run  resume: no disk (0 ms)",
    ]


def test_notebook_shows_the_verdict(monkeypatch):
    bundle = BAD._repr_mimebundle_()
    assert bundle == mimebundle(BAD)
    assert bundle["text/html"].count("<img ") == 2
    assert "NOT EQUIVALENT" in bundle["text/plain"]
    assert_self_contained(bundle["text/html"])


def test_a_verdict_without_views_is_its_repr(monkeypatch):
    monkeypatch.setattr(Verdict, "view", None)
    assert GOOD._repr_mimebundle_() == {"text/plain": repr(GOOD)}


def test_first_access_hangs_the_view(monkeypatch):
    monkeypatch.setattr(Verdict, "view", None)
    workbench.__dict__.pop("Verdict", None)
    assert workbench.Verdict is Verdict
    assert GOOD._repr_mimebundle_()["text/plain"].startswith("Verdict on the twins")
