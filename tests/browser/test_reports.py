"""Reports in a real browser: they draw something, in both palettes, and ask nothing of anybody."""

import shutil
import struct
import subprocess
import zlib

import pytest

from workbench import Pattern
from workbench.render import html
from workbench.views import pattern, verdict

from ..views.verdicts import BAD

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DEEP = "[M-][M-][M-]M[*-][M-]" * 10 + "[M-]" * 4  # 118 sub-layers, as Nemotron-H-56B

REPORTS = {
    "pattern": lambda: pattern.document(Pattern("M[*-]M[ME]|M-*-/[*-]")),
    "deep": lambda: pattern.document(Pattern(DEEP)),
    "verdict": lambda: verdict.document(BAD),
}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", REPORTS)
def test_report_is_drawn_without_a_message(name, dark, tmp_path):
    messages, picture = screenshot(html.render(REPORTS[name]()), tmp_path, dark)
    assert messages == [], "a blocked request or a broken policy is reported there"
    pixels = read_png(picture)
    corner, colours = pixels[0], set(pixels)
    assert (sum(corner) < 200) is dark
    assert len(colours) > 50
    assert (0x00, 0x72, 0xB2) in colours, "Mamba's blue: the strip is drawn"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_blocked_request_is_noticed(tmp_path):
    source = html.render(REPORTS["pattern"]()).replace("<main>", '<main><img alt="" src="http://127.0.0.1:9/x.png">')
    messages, _ = screenshot(source, tmp_path, dark=False)
    assert "Content Security Policy" in messages[0]


def test_deep_pattern_has_the_published_depth():
    assert Pattern(DEEP).counts["sublayers"] == 118


def screenshot(source, folder, dark):
    """The console messages of a page, and the PNG of its first 900 rows."""
    page, picture = folder / "report.html", folder / "report.png"
    page.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            "--window-size=1200,900", f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={picture}", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], picture.read_bytes()


def read_png(data):
    """The pixels of an 8-bit RGB or RGBA PNG, as (red, green, blue)."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, packed = 8, b""
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8
            size = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += body
        place += 12 + length
    raw, stride, rows = zlib.decompress(packed), width * size, []
    before = bytearray(stride)
    for row in range(height):
        start = row * (stride + 1)
        before = unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), before, size)
        rows.append(before)
    return [tuple(line[at : at + 3]) for line in rows for at in range(0, stride, size)]


def unfilter(method, line, above, size):
    """One scan line without its PNG filter (RFC 2083, section 6)."""
    for place in range(len(line) if method else 0):
        left = line[place - size] if place >= size else 0
        up, corner = above[place], above[place - size] if place >= size else 0
        if method == 4:
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(guess - value))
        else:
            nearest = (0, left, up, (left + up) // 2)[method]
        line[place] = (line[place] + nearest) & 0xFF
    return line
