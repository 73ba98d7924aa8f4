from dataclasses import replace

from workbench.compare.throughput.result import Throughput
from workbench.render import html, text
from workbench.views.throughput import document, headline, mimebundle

from ..render.pages import assert_self_contained
from .throughputs import FASTER, FOUND, SAME, SLOWER, regime


def test_headlines():
    assert headline(FOUND).splitlines() == [
        "✓ FASTER: 1.123× [1.100, 1.130] a step, host regime",
        "– NO MEASURABLE DIFFERENCE: 1.001× [0.990, 1.012] a step, compute regime",
    ]
    slower = replace(FOUND, regimes=(regime("host", (SAME, SAME, SAME, SAME, SLOWER)),))
    assert headline(slower) == "✗ SLOWER: 0.950× [0.940, 0.960] a step, host regime"


def test_whole_text():
    page = text.render(document(replace(FOUND, regimes=FOUND.regimes[:1])))
    assert page == WHOLE


WHOLE = """\
Throughput of the twins

The same function first: loss and gradient norm of all 510 steps, and every weight in the end, are
the same bits.

✓ FASTER: 1.123× [1.100, 1.130] a step, host regime

The twins
  Fused
    2 blocks · 3 sub-layers · 1 fused pair

      M[*-]

      stage 0
      M [* -]
      0  1 2

  Unfused
    3 blocks · 3 sub-layers · 0 fused pairs

      M*-

      stage 0
      M * -
      0 1 2

Where the host is the limit
  16 tokens a step · 64 wide · 1 thread · 500 pairs of trials ·
  96.8 % of a step outside of matrix products

  Parts of a step, host regime: medians of 500 pairs.
    phase                      fused ms      unfused ms                speedup  difference
    ────────────────  ─────────────────  ──────────────  ─────────────────────  ────────────
    forward           3.46 [3.40, 3.50]  123 [120, 130]  1.123× [1.100, 1.130]  ✓ faster
    backward          3.46 [3.40, 3.50]  123 [120, 130]  1.123× [1.100, 1.130]  ✓ faster
    forward+backward  3.46 [3.40, 3.50]  123 [120, 130]  1.123× [1.100, 1.130]  ✓ faster
    optimizer         3.46 [3.40, 3.50]  123 [120, 130]  1.001× [0.990, 1.012]  – none shown
    whole step        3.46 [3.40, 3.50]  123 [120, 130]  1.123× [1.100, 1.130]  ✓ faster

  Of one step. Peak memory is what the step's own tensors take at their highest, to the byte;
  weights, gradient buffers and optimizer state are not in it.
    what                     fused  unfused          difference
    ─────────────────────  ───────  ───────  ──────────────────
    blocks                       2        3        −1 (−33.3 %)
    blocks that run lean         1        0                  +1
    module calls                10       61       −51 (−83.6 %)
    Python function calls    2,220    3,142      −922 (−29.3 %)
    torch operators            739      739                none
    peak memory            226 KiB  232 KiB  −6.00 KiB (−2.6 %)

Obtained with
  Each is what the library builds by default: fused blocks run lean where they can, which leaves
  upstream's arithmetic and bits as they are; others run upstream's forward. Both were built from
  one seed in one process and trained on the same tokens. Their steps took turns, each first in
  every other pair. Times are medians, with 95 % bootstrap intervals in brackets. A speedup is the
  median over pairs of unfused / fused, where 1 is no difference: an interval that holds 1 shows
  none.

  What the times were obtained with. Again, they will be others; an interval says how far others.
    what      name   value
    ────────  ─────  ──────
    seed             1234
    dtype            fp32
    versions  torch  2.14.1
"""


def test_no_table_wraps_at_the_width_of_a_terminal():
    page = text.render(document(FOUND), width=100)
    assert "forward+backward  3.46 [3.40, 3.50]  123 [120, 130]  1.123× [1.100, 1.130]  ✓ faster" in page


def test_kernel_launches_only_where_there_are_some():
    assert "kernel launches" not in text.render(document(FOUND))
    work = replace(FOUND.regimes[0].fused, kernels=70), replace(FOUND.regimes[0].unfused, kernels=80)
    gpu = regime("host", (FASTER,) * 5, fused=work[0], unfused=work[1])
    assert "kernel launches" in text.render(document(replace(FOUND, regimes=(gpu,))))


def test_what_fusing_alone_gives():
    first = FOUND.regimes[0]
    plain = replace(first, plain=regime("host", (SLOWER,) * 5).phases)
    page = text.render(document(replace(FOUND, regimes=(plain,))), width=100)
    assert "fused blocks that run upstream's own forward" in page
    assert "0.950× [0.940, 0.960]  ✗ slower" in page
    assert "upstream's own forward" not in text.render(document(FOUND))


def test_what_is_more_is_said_as_more():
    first = FOUND.regimes[0]
    page = text.render(document(replace(FOUND, regimes=(replace(first, fused=first.unfused, unfused=first.fused),))))
    assert "+51 (+510.0 %)" in page


def test_two_fusions_of_one_pattern_are_this_and_the_other():
    page = text.render(document(replace(FOUND, unfused="M[*-]")))
    assert "this ms" in page
    assert "unfused ms" not in page


def test_html_is_self_contained():
    page = assert_self_contained(html.render(document(FOUND)))
    for said in ("FASTER", "NO MEASURABLE DIFFERENCE", "96.8 %", "Where the arithmetic is the limit"):
        assert said in page.text


def test_notebook_shows_it(monkeypatch):
    monkeypatch.setattr(Throughput, "view", mimebundle)
    bundle = FOUND._repr_mimebundle_()
    assert bundle == mimebundle(FOUND)
    assert "NO MEASURABLE DIFFERENCE" in bundle["text/plain"]
    assert_self_contained(bundle["text/html"])
    monkeypatch.setattr(Throughput, "view", None)
    assert FOUND._repr_mimebundle_() == {"text/plain": repr(FOUND)}
