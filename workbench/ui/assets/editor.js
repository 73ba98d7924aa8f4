// The widget. Python says what is wrong and what it all means (`state`); this file shows it and sends what happens.
// Messages go one way through one channel, numbered, each with the text as it stands; a state says which it answers.

const DEBOUNCE = 15; // ms
const BUSY = "Python is busy: the picture follows when it answers.";

function render({ model, el, signal }) {
  const id = `wb-${Math.random().toString(36).slice(2)}`;
  const { symbols, presets } = model.get("constants");
  let state = model.get("state");
  let sent = 0, answered = 0, timer = null, waiting = null, hot = null, told = "", dark = false;

  // ------------------------------------------------------------------------------------------ elements
  const field = makeField(`${id}-text`, "Layer pattern");
  const { input } = field;
  input.setAttribute("aria-describedby", `${id}-problems ${id}-help`);
  const problems = h("ul", { class: "wb-problems", id: `${id}-problems` });
  const facts = h("ul", { class: "wb-facts", "aria-label": "Figures" });
  const status = h("div", { role: "status", class: "wb-unseen" });
  const notice = h("p", { class: "wb-notice", role: "alert" });
  const strip = makeStrip(symbols, {
    select: (entry) => { choose(entry); model.send({ do: "select", sublayers: entry.all, mtp: entry.mtp }); },
    fuse: (entry) => state.sound && tell({ do: "fuse", sublayer: entry.index, mtp: entry.mtp }),
    unfuse: (entry) => state.sound && tell({ do: "unfuse", sublayer: entry.index, mtp: entry.mtp }),
    point,
  });
  const help = h("p", { class: "wb-help", id: `${id}-help` },
    "In the strip: ", h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " ", h("kbd", {}, "Home"), " ", h("kbd", {}, "End"), " move and select, ",
    h("kbd", {}, "Enter"), " or ", h("kbd", {}, "F"), " fuses or unfuses. Anywhere: ", h("kbd", {}, "Ctrl Z"), " undoes, ",
    h("kbd", {}, "Ctrl Shift Z"), " does it again.");
  strip.root.setAttribute("aria-describedby", help.id);
  const cost = h("div", { class: "wb-cost" });
  const picture = h("div", { class: "wb-inside" });
  const weights = h("div", { class: "wb-weights" });
  const blocks = h("div", { tabindex: "0", role: "region", "aria-label": "The strip as a table" });
  const alternative = h("details", { class: "wb-details" }, h("summary", {}, "The strip as a table"), blocks);
  const count = h("input", { class: "wb-number", type: "number", min: "1", max: "64", value: "4", "aria-label": "Stages" });
  const menu = h("select", { class: "wb-select", "aria-label": "Load a preset" }, h("option", { value: "" }, "presets …"),
    ...presets.map((name) => h("option", { value: name }, name)));
  const sound = { "data-sound": true }; // works on a text without errors only
  const balance = () => tell({ do: "balance", stages: Number(count.value) || 1 });
  const undo = command("undo", () => state.can_undo && tell({ do: "undo" }));
  const redo = command("redo", () => state.can_redo && tell({ do: "redo" }));
  const tools = h("div", { class: "wb-tools", role: "group", "aria-label": "Change the pattern" },
    undo, redo,
    command("fuse all", () => tell({ do: "fuse-all" }), sound), command("unfuse all", () => tell({ do: "unfuse-all" })),
    h("span", { class: "wb-joined" }, command("balance into", balance, sound), count, " stages"), menu,
    ...[["svg", "SVG"], ["png", "PNG"], ["report", "report"]].map(([form, label]) =>
      command(`↓ ${label}`, () => tell({ do: "export", form }), { ...sound, "aria-label": `Export as ${label}` })));
  const root = h("div", { class: "wb-editor", role: "group", "aria-label": "Layer pattern editor" },
    field.label, field.root, problems, notice, facts, tools, strip.root, help,
    picture, weights, cost, alternative, status);
  el.append(root);

  // ------------------------------------------------------------------------------------------ messages
  function tell(message) { // a command, with what was written before it
    clearTimeout(timer);
    timer = null;
    notice.textContent = "";
    model.send({ ...message, text: input.value, view: id, number: ++sent });
    clearTimeout(waiting);
    waiting = setTimeout(() => { notice.textContent = BUSY; }, 3000);
  }

  function write() { // one text under way at a time; what is written meanwhile goes when it is answered
    if (timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      if (answered >= sent) tell({ do: "write" });
      else timer = -1;
    }, DEBOUNCE);
  }

  function receive() {
    state = model.get("state");
    if (state.view === id) answered = Math.max(answered, state.number);
    if (answered >= sent) clearTimeout(waiting);
    if (answered >= sent && notice.textContent === BUSY) notice.textContent = "";
    const behind = timer !== null || answered < sent;
    if (!behind && shown(state.text) !== input.value) field.adopt(state.text);
    draw();
    if (timer === -1 && answered >= sent) { timer = null; tell({ do: "write" }); }
  }

  // ------------------------------------------------------------------------------------------- drawing
  function draw() {
    const current = shown(state.text) === input.value;
    strip.draw(state);
    if (current) field.mark(state.marks);
    input.setAttribute("aria-invalid", String(!state.sound));
    drawProblems(problems, state, (entry) => { tell({ do: "mend", code: entry.code, start: entry.start }); input.focus(); }, () => tell({ do: "fuse-all" }));
    drawFacts(facts, state);
    undo.setAttribute("aria-disabled", String(!state.can_undo)); // not disabled: the focus would be lost
    redo.setAttribute("aria-disabled", String(!state.can_redo));
    for (const button of tools.querySelectorAll("[data-sound]")) button.disabled = !state.sound;
    drawCost(cost, state, symbols);
    if (alternative.open) drawBlocks(blocks, strip.all(), symbols);
    drawSelection();
    root.dataset.text = state.text;
    if (state.said !== told) say(told = state.said);
  }

  let saying = null;
  function say(text) { // once the writing pauses
    clearTimeout(saying);
    saying = setTimeout(() => { status.textContent = text; }, 600);
  }

  function choose(entry) { show(entry ? entry.all.map((index) => keyOf(entry.mtp, index)) : []); }

  function drawSelection() {
    show((model.get("selected") ?? []).map((index) => keyOf(model.get("selected_mtp"), index)));
  }

  function show(keys) {
    strip.choose(keys);
    const entry = strip.get(keys[0]);
    picture.hidden = !entry;
    const partner = entry?.fused ? strip.get(keyOf(entry.mtp, entry.index + (entry.second ? -1 : 1))) : null;
    drawWeights(weights, state, entry, partner, symbols);
    light();
  }

  function point(entry) {
    if (entry?.key === hot) return;
    hot = entry?.key ?? null;
    light();
  }

  const kindOf = (entry) => (entry.mtp ? "mtp" : symbols[entry.symbol].kind); // the row that its cost is counted in
  function pointKind(kind) { light(strip.all().filter((entry) => kindOf(entry) === kind)); }

  function light(entries = [strip.get(hot)].filter(Boolean)) { // one sub-layer, wherever it stands
    for (const node of root.querySelectorAll(".wb-hot:not(.wb-mirror *)")) node.classList.remove("wb-hot");
    for (const { node } of entries) node.classList.add("wb-hot");
    if (entries.length) {
      const [{ key }] = entries;
      const rows = [`tr[data-kind="${kindOf(entries[0])}"]`, ...(entries.length === 1 ? [`tr[data-key="${key}"]`, `tr[data-keys~="${key}"]`] : [])];
      for (const row of root.querySelectorAll(rows.join())) row.classList.add("wb-hot");
    }
    if (shown(state.text) === input.value) field.light(new Map(entries.flatMap(({ places }) => places.map((at) => [at, "wb-hot"]))));
  }

  // -------------------------------------------------------------------------------------------- events
  input.addEventListener("input", () => { field.mark([]); write(); });
  menu.addEventListener("change", () => { if (menu.value) tell({ do: "preset", name: menu.value }); menu.value = ""; });
  count.addEventListener("keydown", (event) => { if (event.key === "Enter" && state.sound) balance(); });
  alternative.addEventListener("toggle", () => alternative.open && drawBlocks(blocks, strip.all(), symbols));
  for (const part of [cost, weights, blocks]) {
    part.addEventListener("mouseover", ({ target }) => {
      const row = target.closest("tr");
      if (row?.dataset.kind) pointKind(row.dataset.kind);
      else point(strip.get(row?.dataset.key ?? row?.dataset.keys?.split(" ")[0]));
    });
    part.addEventListener("mouseleave", () => { hot = null; light(); });
  }
  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // JupyterLab would take "b" for "insert a cell below"
    if (event.target === input && event.key === "Enter") event.preventDefault();
    if (!(event.ctrlKey || event.metaKey) || event.target === count) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    tell({ do: key === "y" || event.shiftKey ? "redo" : "undo" });
  });
  model.on("change:state", receive);
  model.on("change:graph", () => drawInside(picture, model.get("graph"), dark));
  model.on("change:selected change:selected_mtp", drawSelection);
  model.on("msg:custom", async (message) => {
    if (message.notice) notice.textContent = message.notice;
    if (!message.file) return;
    const { name, text } = message.file;
    const type = message.form === "report" ? "text/html" : "image/svg+xml";
    save(name, message.form === "png" ? await asPng(text) : new Blob([text], { type }));
  });
  watchTheme(root, (now) => {
    dark = now;
    drawInside(picture, model.get("graph"), dark);
    for (const row of Object.values(symbols)) {
      root.style.setProperty(`--wb-${row.kind}`, dark ? row.dark : row.light);
      root.style.setProperty(`--wb-on-${row.kind}`, dark ? row.on_dark : row.on_light);
    }
  }, signal);

  field.adopt(state.text);
  draw();
  hideStatic(root);
  requestAnimationFrame(() => hideStatic(root)); // the output is in the page only now
}

export default { render };
