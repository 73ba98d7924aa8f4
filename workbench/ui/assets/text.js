// The field: a text area, and behind it the same text with underlines, kept alike to the pixel.

// What may stand in the field: a character that would turn the order of others around is shown as unknown, one for one.
const shown = (text) => text.toWellFormed().replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

function makeField(id, label) {
  const mirror = h("div", { class: "wb-mirror", "aria-hidden": "true" });
  const input = h("textarea", {
    class: "wb-input", id, rows: "1", spellcheck: "false", autocapitalize: "off", autocomplete: "off", autocorrect: "off",
    wrap: "soft", dir: "ltr", "data-gramm": "false",
  });
  const root = h("div", { class: "wb-field" }, mirror, input);
  let marks = [], hot = new Map();

  // Places count code points, as Python does; a string here counts UTF-16 units, so its points are walked.
  function draw() {
    const points = Array.from(input.value);
    const kind = new Array(points.length).fill("");
    const gaps = new Set();
    for (const [start, end, severity] of marks) {
      if (start === end) gaps.add(start);
      for (let at = start; at < end && at < points.length; at++) kind[at] = `wb-${severity}`;
    }
    for (const [at, name] of hot) if (at < points.length) kind[at] += ` ${name}`;
    const out = document.createDocumentFragment();
    let run = "", now = "";
    const flush = () => {
      if (run) out.append(now ? h("span", { class: now.trim() }, run) : run);
      run = "";
    };
    points.forEach((point, at) => {
      if (kind[at] !== now || gaps.has(at)) flush();
      if (gaps.has(at)) out.append(h("span", { class: "wb-gap" }));
      now = kind[at];
      run += point;
    });
    flush();
    if (gaps.has(points.length)) out.append(h("span", { class: "wb-gap" }));
    out.append("\u200b"); // an empty last line has a height too
    mirror.replaceChildren(out);
  }

  input.addEventListener("input", () => {
    const { value, selectionStart, selectionEnd } = input;
    if (shown(value) === value) return;
    input.value = shown(value);
    input.setSelectionRange(selectionStart, selectionEnd);
  });

  return {
    root, input, draw,
    label: h("label", { for: id, class: "wb-unseen" }, label),
    mark(found) { marks = found; draw(); },
    light(places) { hot = places; draw(); },
    // A text that did not come from the keyboard: the caret goes behind what changed.
    adopt(given) {
      const text = shown(given);
      const old = input.value;
      let tail = 0;
      while (tail < Math.min(old.length, text.length) && old.at(-1 - tail) === text.at(-1 - tail)) tail++;
      input.value = text;
      marks = [];
      if (focusOf(input) === input) input.setSelectionRange(text.length - tail, text.length - tail);
    },
  };
}
