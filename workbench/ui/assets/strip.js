// The strip: a button a sub-layer, one of them in the tab order; between two that are or could be a pair, a button.

const keyOf = (mtp, index) => `${mtp ? "mtp" : "main"}:${index}`;

function makeStrip(symbols, { select, fuse, unfuse, point }) {
  const root = h("div", { class: "wb-strip", role: "group", "aria-label": "Strip: a button for each sub-layer" });
  let cells = new Map(); // key → { node, at, symbol, index, mtp, block, fused, first, second }
  let order = [], current = null, chosen = new Set();

  function cell(entry) {
    const { name, kind, glyph, filled } = symbols[entry.symbol];
    const pair = entry.fused ? `, fused with ${entry.second ? entry.index - 1 : entry.index + 1}` : "";
    const could = entry.joins ? `, could be fused with ${entry.index + 1}` : "";
    return h("button", {
      type: "button", class: `wb-cell ${filled ? "wb-filled" : "wb-outlined"}`, "data-key": entry.key, tabindex: "-1",
      style: `--own: var(--wb-${kind}); --upon: var(--wb-on-${kind})`, title: `${name}, sub-layer ${entry.index}`,
      "aria-pressed": "false",
      "aria-label": `${entry.mtp ? "MTP " : ""}sub-layer ${entry.index}, ${name}${pair}${could}`,
    }, h("span", { class: "wb-symbol", "aria-hidden": "true" }, glyph), h("span", { class: "wb-index", "aria-hidden": "true" }, entry.index));
  }

  const join = (label, action, entry, sign) => h("button", {
    type: "button", class: `wb-join wb-${action}`, tabindex: "-1", title: label, "aria-label": label,
    "data-do": action, "data-key": entry.key,
  }, h("span", { "aria-hidden": "true" }, sign));

  function group(entries, fused) {
    const [first, second] = entries;
    const node = h("div", { class: fused ? "wb-group wb-pair" : "wb-group" });
    const where = first.mtp ? "MTP sub-layers" : "sub-layers";
    for (const entry of entries) {
      if (entry === second) node.append(join(`Unfuse ${where} ${first.index} and ${second.index}`, "unfuse", first, "×"));
      node.append((entry.node = cell(entry)));
    }
    if (first.joins) node.append(join(`Fuse ${where} ${first.index} and ${first.index + 1}`, "fuse", first, "+"));
    return node;
  }

  // Of a stage, only the blocks that differ from those at the same place before are built anew.
  function frame(data, old) {
    const made = old ?? { label: h("div", { class: "wb-frame-label", "aria-hidden": "true" }), list: h("div", { class: "wb-blocks" }), keys: [], entries: [] };
    made.root ??= h("div", { role: "group" }, made.label, made.list);
    made.root.className = data.mtp ? "wb-frame wb-mtp" : "wb-frame";
    made.root.setAttribute("aria-label", data.label);
    made.label.textContent = data.label;
    data.blocks.forEach(([block, fused, joins, members], place) => {
      const key = `${data.mtp}|${block}|${fused}|${joins}|${members.map(([symbol, index]) => symbol + index)}`;
      const before = made.keys[place] === key ? made.entries[place] : null;
      const entries = members.map(([symbol, index, at], number) => ({
        symbol, index, places: Array.from({ length: data.times ?? 1 }, (_, depth) => at + depth * (data.every ?? 0)), block, fused, joins, mtp: data.mtp, second: number === 1, key: keyOf(data.mtp, index), node: before?.[number].node,
        all: members.map(([, other]) => other),
      }));
      if (!before) {
        const node = group(entries, fused);
        made.list.children[place] ? made.list.children[place].replaceWith(node) : made.list.append(node);
      }
      made.keys[place] = key;
      made.entries[place] = entries;
    });
    while (made.list.children.length > data.blocks.length) made.list.lastChild.remove();
    made.keys.length = made.entries.length = data.blocks.length;
    return made;
  }

  let frames = [];
  function draw(state) {
    const held = root.contains(focusOf(root)) && focusOf(root).dataset.key;
    frames = state.frames.map((data, number) => frame(data, frames[number]));
    frames.forEach((made, number) => root.children[number] !== made.root && root.insertBefore(made.root, root.children[number] ?? null));
    while (root.children.length > frames.length) root.lastChild.remove();
    order = frames.flatMap((made) => made.entries.flat());
    cells = new Map(order.map((entry) => [entry.key, entry]));
    root.classList.toggle("wb-dense", order.length >= 48);
    root.classList.toggle("wb-long", order.length >= 240);
    rove(cells.has(current) ? current : order[0]?.key);
    if (held && !root.contains(focusOf(root))) cells.get(current)?.node.focus({ preventScroll: true });
  }

  function rove(key) {
    const before = cells.get(current);
    if (before) before.node.tabIndex = -1;
    current = key;
    const now = cells.get(key);
    if (now) now.node.tabIndex = 0;
  }

  function choose(keys) {
    for (const key of chosen) mark(key, false);
    chosen = new Set(keys);
    for (const key of chosen) mark(key, true);
  }

  function mark(key, on) {
    const node = cells.get(key)?.node;
    node?.setAttribute("aria-pressed", String(on));
    node?.parentElement.classList.toggle("wb-chosen", on);
  }

  // Apart if it is a pair; else with the next, else with the one before.
  function toggle(entry) {
    if (entry.fused) return unfuse(entry);
    if (entry.joins) return fuse(entry);
    const before = cells.get(keyOf(entry.mtp, entry.index - 1));
    if (before?.joins) fuse(before);
  }

  const entryAt = (target) => cells.get(target.closest?.("[data-key]")?.dataset.key);
  root.addEventListener("click", (event) => {
    const entry = entryAt(event.target), action = event.target.closest("[data-do]")?.dataset.do;
    if (!entry) return;
    if (action) return action === "fuse" ? fuse(entry) : unfuse(entry);
    rove(entry.key);
    select(entry);
  });
  root.addEventListener("focusin", (event) => {
    const entry = entryAt(event.target);
    if (!entry || event.target.dataset.do) return;
    rove(entry.key);
    point(entry);
  });
  root.addEventListener("mouseover", (event) => point(entryAt(event.target)));
  root.addEventListener("mouseleave", () => point(null));
  root.addEventListener("focusout", () => point(null));
  root.addEventListener("keydown", (event) => {
    const entry = entryAt(event.target);
    if (!entry || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = order.indexOf(entry);
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: order.length - 1 }[event.key];
    if (to !== undefined) {
      const next = order[Math.max(0, Math.min(order.length - 1, to))];
      next.node.focus();
      select(next);
    } else if (event.key === "Enter" || event.key.toLowerCase() === "f") toggle(entry);
    else return;
    event.preventDefault();
  });

  return { root, draw, choose, get: (key) => cells.get(key), all: () => order };
}
