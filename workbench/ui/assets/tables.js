// What stands below the strip: problems, figures, cost by kind, the selected block's picture and weights, the strip as a table.

function table(caption, heads, rows) {
  return h("table", {}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...heads.map(([label, right]) => h("th", { scope: "col", class: right && "wb-right" }, label)))),
    h("tbody", {}, ...rows));
}

function drawProblems(root, state, mend, fuseAll) {
  const rows = state.problems.map((entry) => h("li", { class: `wb-problem wb-${entry.severity}-text` },
    h("span", { class: "wb-code" }, `${entry.severity === "error" ? "✕" : "!"} ${entry.code} ${entry.span}`),
    h("span", { class: "wb-message" }, `${entry.message} `, h("span", { class: "wb-hint" }, entry.hint)),
    ...(entry.fix ? [command(entry.fix, () => mend(entry), { "aria-label": `Fix ${entry.code} at ${entry.span}: ${entry.fix}` })] : [])));
  if (state.more) rows.push(h("li", { class: "wb-problem wb-quiet" }, `and ${state.more.toLocaleString("en")} more, underlined above`));
  if (state.pairs) rows.push(h("li", { class: "wb-problem wb-quiet" }, h("span", {}, `${state.pairs}: same model, same checkpoint`), command("fuse all", fuseAll)));
  if (!state.sound) rows.push(h("li", { class: "wb-problem wb-quiet" }, "The strip shows what still parses."));
  root.replaceChildren(...rows);
}

function drawFacts(root, state) {
  root.replaceChildren(...state.facts.map(([value, label]) => h("li", {}, h("b", {}, value), " ", h("span", {}, label))));
}

function share(part, text) {
  const bar = h("span", { class: "wb-bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", String(part));
  return h("td", { class: "wb-share" }, bar, h("span", {}, text));
}

function drawCost(root, state, symbols) {
  const cost = state.cost;
  root.classList.toggle("wb-stale", !state.sound);
  if (cost.problem) return root.replaceChildren(h("p", { class: "wb-quiet" }, cost.problem));
  if (!cost.rows) return root.replaceChildren();
  const rows = cost.rows.map((row) => h("tr", { "data-kind": row.kind },
    h("th", { scope: "row" }, chip(row.kind, symbols[row.symbol]), row.name),
    h("td", { class: "wb-right" }, row.parameters), share(row.parameter_share, row.parameter_percent),
    h("td", { class: "wb-right" }, row.flops), share(row.flop_share, row.flop_percent)));
  rows.push(h("tr", { class: "wb-total" }, h("th", { scope: "row" }, "all"), h("td", { class: "wb-right" }, cost.total[0]), h("td"),
    h("td", { class: "wb-right" }, cost.total[1]), h("td")));
  const caption = state.sound ? cost.caption : `Of the last text without errors. ${cost.caption}`;
  root.replaceChildren(table(caption, [["kind"], ["parameters", true], ["share"], ["forward FLOPs", true], ["share"]], rows));
}

function chip(kind, symbol) {
  if (!symbol) return h("span", { class: "wb-chip", "aria-hidden": "true" });
  return h("span", {
    class: `wb-chip ${symbol.filled ? "wb-filled" : "wb-outlined"}`, "aria-hidden": "true",
    style: `--own: var(--wb-${kind}); --upon: var(--wb-on-${kind})`,
  }, symbol.glyph);
}

function drawWeights(root, state, entry, partner, symbols) {
  const halves = entry && [entry, partner].filter(Boolean).sort((a, b) => a.index - b.index);
  const known = halves && state.cost.weights?.[halves.map((half) => half.symbol).join("")];
  if (!known) {
    const told = entry ? "" : "Select a sub-layer in the strip to see what runs inside of its block, and each weight: where it is stored, and where it lives in the built model.";
    return root.replaceChildren(h("p", { class: "wb-quiet" }, told));
  }
  const stem = entry.mtp ? "mtp.layers.0.mtp_model_layer." : "decoder.";
  const rows = halves.flatMap((half, place) => known[place].map(([stored, shape, built]) => h("tr", { "data-key": half.key },
    h("td", {}, h("span", { class: "wb-with-chip" }, chip(symbols[half.symbol].kind, symbols[half.symbol]), h("code", {}, `layers.${half.index}.${stored}`))),
    h("td", { class: "wb-shape" }, h("code", {}, shape)), h("td", {}, h("code", {}, `layers.${half.block}.${built}`)))));
  const what = halves.length === 2 ? `Sub-layers ${halves[0].index} and ${halves[1].index}: one block, two canonical layers` : `Sub-layer ${entry.index}: one block, one canonical layer`;
  root.replaceChildren(table(`${what}. Names within ${stem}`, [["stored as"], ["shape"], ["lives in"]], rows));
}

// An image runs nothing and asks for nothing, whatever is in it.
function drawInside(root, graph, dark) {
  if (!graph.light) return root.replaceChildren(...(graph.problem ? [h("p", { class: "wb-quiet" }, graph.problem)] : []));
  root.replaceChildren(h("img", { src: dark ? graph.dark : graph.light, alt: graph.said }));
}

function drawBlocks(root, entries, symbols) {
  const rows = entries.filter((entry) => !entry.second).map((entry) => h("tr", { "data-keys": entry.all.map((index) => keyOf(entry.mtp, index)).join(" ") },
    h("th", { scope: "row" }, `${entry.mtp ? "MTP " : ""}${entry.block}`), h("td", {}, entry.fused ? "fused" : "alone"),
    h("td", {}, entries.filter((other) => other.mtp === entry.mtp && other.block === entry.block).map((other) => symbols[other.symbol].name).join(", ")),
    h("td", {}, entry.all.join(", "))));
  root.replaceChildren(table("Every block of the strip, in order", [["block"], ["how"], ["layers"], ["sub-layers"]], rows));
}
