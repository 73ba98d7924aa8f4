// The diff browser. Python says every text once (`state`); this file draws it, and asks for a close look when a row is opened.

const MARKS = { pass: "✓", fail: "✗", "not-run": "–" };
const BUSY = "Python is busy: the details follow when it answers.";

function render({ model, el, signal }) {
  const state = model.get("state");
  const id = `wb-${Math.random().toString(36).slice(2)}`;
  const waiting = new Map(); // the place for a close look, by the row's number
  let dark = false;

  const chip = ([outcome, word]) => h("span", { class: `wb-verdict wb-${outcome}` }, h("span", { "aria-hidden": "true" }, MARKS[outcome]), ` ${word}`);
  const dotted = (name) => h("code", {}, ...name.split(/(?<=\.)/).flatMap((part) => [part, h("wbr")])); // a long name breaks after a dot
  const paragraphs = (texts) => texts.map((text) => h("p", {}, text));

  // ---------------------------------------------------------------------------------------------- rows
  function draw(entry, number) {
    const [cells, keys, picks, sentences, canLook] = entry;
    const row = {
      picks,
      keys: keys.map((key, place) => (key !== null ? Number(key) : state.columns[place][1] ? null : Array.isArray(cells[place]) ? cells[place][1] : cells[place])),
      text: [...cells.map((cell) => (Array.isArray(cell) ? cell[1] : cell)), ...sentences].join("\n").toLowerCase(),
      body() {
        const shown = cells.map((cell, place) => {
          const [, right, code] = state.columns[place];
          return h("td", { class: right && "wb-right" }, Array.isArray(cell) ? chip(cell) : code ? dotted(cell) : cell);
        });
        row.head = shown[1];
        if (sentences.length || canLook) {
          const look = h("div", { class: "wb-look", "aria-live": "polite" });
          row.more = h("tr", { class: "more" }, h("td", { colspan: state.columns.length }, ...paragraphs(sentences), ...(canLook ? [look] : [])));
          if (canLook) row.fill = () => ask(number, look);
        }
        return h("tbody", { "data-row": number }, h("tr", {}, ...shown), ...(row.more ? [row.more] : []));
      },
    };
    return row;
  }

  function ask(number, look) {
    look.replaceChildren(h("p", { class: "wb-quiet" }, "looking at the two tensors …"));
    const late = setTimeout(() => look.replaceChildren(h("p", { class: "wb-quiet" }, BUSY)), 3000);
    waiting.set(number, { look, late });
    model.send({ do: "look", row: number });
  }

  function answer({ row, detail, notice }) {
    if (!waiting.has(row)) return; // another view of this browser asked
    const { look, late } = waiting.get(row);
    waiting.delete(row);
    clearTimeout(late);
    look.replaceChildren(...(notice ? [h("p", { class: "wb-notice" }, notice)] : details(detail)));
  }

  // ------------------------------------------------------------------------------------------- details
  const small = (caption, heads, rows) => h("table", {}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...heads.map(([label, right]) => h("th", { scope: "col", class: right && "wb-right" }, label)))), h("tbody", {}, ...rows));

  function details({ histogram, histogram_said: counted, heat, sample, sample_said: worst }) {
    const bars = histogram.map(([bin, number, share]) => {
      const bar = h("span", { class: "wb-bar", "aria-hidden": "true" });
      bar.style.setProperty("--share", String(share));
      return h("tr", {}, h("td", {}, bin), h("td", { class: "wb-share" }, bar, number));
    });
    const entries = sample.map(([at, left, right]) => h("tr", {}, h("td", {}, h("code", {}, at)), ...[left, right].map((text) => h("td", { class: "wb-right" }, h("code", {}, text)))));
    return [
      h("div", { class: "wb-beside" },
        ...(bars.length ? [small(counted, [["|left − right|"], ["entries"]], bars)] : []),
        ...(heat ? [h("img", { src: dark ? heat.dark : heat.light, alt: heat.said, "data-light": heat.light, "data-dark": heat.dark })] : [])),
      ...(entries.length ? [small(worst, [["at"], ["left", true], ["right", true]], entries)] : []),
    ];
  }

  // -------------------------------------------------------------------------------------------- the whole
  const heads = state.columns.map(([label, right]) => h("th", { scope: "col", class: right && "wb-right" }, label));
  const table = h("table", {}, h("caption", {}, state.caption), h("thead", {}, h("tr", {}, ...heads)));
  const root = h("div", { class: "wb-diff browse", role: "group", "aria-label": "Differences of two checkpoints" },
    h("p", { class: `wb-banner wb-${state.outcome}` }, chip([state.outcome, state.word]), " ", h("span", {}, state.said)),
    h("ul", { class: "wb-sides" }, ...state.sides.map((text) => h("li", {}, text))),
    ...(state.causes.length ? [h("ul", { class: "wb-causes" }, ...state.causes.map((text) => h("li", {}, text)))] : []));
  if (state.rows.length) {
    const { tools, further } = makeBrowse({ table, rows: state.rows.map(draw), picks: state.picks, noun: state.noun, id });
    root.append(tools, h("div", { class: "wb-table", role: "group", tabindex: "0", "aria-label": state.caption }, table), further);
  }
  el.append(root);

  root.addEventListener("keydown", (event) => event.stopPropagation()); // JupyterLab would take "b" for "insert a cell below"
  model.on("msg:custom", answer);
  signal?.addEventListener("abort", () => {
    model.off("msg:custom", answer);
    for (const { late } of waiting.values()) clearTimeout(late);
  });
  watchTheme(root, (now) => {
    dark = now;
    for (const image of root.querySelectorAll("img[data-light]")) image.src = dark ? image.dataset.dark : image.dataset.light;
  }, signal);
  hideStatic(root);
  requestAnimationFrame(() => hideStatic(root)); // the output is in the page only now
}

export default { render };
