// A table to look through: words to find, filters, columns to sort by, a hundred rows at a time, and what a row opens to.
// A row is { body, head, more, text, picks, keys, fill }: its table body, the cell whose content opens it, the row below (or
// null), the text that words are found in, its value of each filter, a number or a text a column, and what fills the row
// below when it is first opened. `body()` makes the body when it is first shown.

const AT_ONCE = 100;

function makeBrowse({ table, rows, picks, noun: [one, many], id, changed = () => {} }) {
  const numbers = new Intl.NumberFormat("en");
  const say = (number) => `${numbers.format(number)} ${number === 1 ? one : many}`;
  let found = rows, limit = AT_ONCE, by = null, down = false;

  const search = h("input", { type: "search", class: "browse-field", id: `${id}-search`, autocomplete: "off", spellcheck: "false", dir: "auto" });
  const menus = picks.map(([label, values], place) => {
    const counts = new Map(values.map((value) => [value, rows.filter((row) => row.picks[place] === value).length]));
    return h("select", { class: "browse-field", id: `${id}-pick-${place}` }, h("option", { value: "" }, "all"),
      ...values.map((value, number) => h("option", { value: String(number) }, `${value} (${numbers.format(counts.get(value))})`)));
  });
  const status = h("p", { class: "browse-status", role: "status" });
  const clear = h("button", { type: "button", class: "browse-button", onclick: reset }, "show all");
  const further = h("button", { type: "button", class: "browse-button", onclick: showFurther });
  const labelled = (label, field) => h("span", { class: "browse-labelled" }, h("label", { for: field.id }, label), field);
  const tools = h("div", { class: "browse-tools", role: "search", "aria-label": `Find ${many}` },
    labelled("search", search), ...picks.map(([label], place) => labelled(label, menus[place])), status, clear);
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.append(h("button", { type: "button", class: "browse-sort", onclick: () => sortBy(column) }, ...head.childNodes));
    head.setAttribute("aria-sort", "none");
  });

  const bodyOf = (row) => (typeof row.body === "function" ? (row.body = prepared(row, row.body())) : row.body);
  for (const row of rows) if (typeof row.body !== "function") prepared(row, row.body);

  function prepared(row, body) {
    if (!row.more) return body;
    row.more.id ||= `${id}-more-${rows.indexOf(row)}`;
    row.more.hidden = true;
    const button = h("button", { type: "button", class: "browse-open", "aria-expanded": "false", "aria-controls": row.more.id }, ...row.head.childNodes);
    row.head.append(button);
    body.rows[0].classList.add("browse-opens");
    body.rows[0].addEventListener("click", () => {
      if (getSelection().type === "Range") return; // a name that is being copied
      row.more.hidden = !row.more.hidden;
      button.setAttribute("aria-expanded", String(!row.more.hidden));
      if (!row.more.hidden) { row.fill?.(); row.fill = null; }
    });
    return body;
  }

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = menus.map((menu, place) => (menu.value === "" ? null : picks[place][1][menu.value]));
    found = rows.filter((row) => wanted.every((value, place) => value === null || row.picks[place] === value) && words.every((word) => row.text.includes(word)));
    if (by !== null) found.sort(compare);
    limit = AT_ONCE;
    draw();
  }

  function compare(first, second) { // what has no number stands last, whichever way
    const [left, right] = [first.keys[by], second.keys[by]];
    if (left === null || right === null) return (left === null) - (right === null);
    const less = typeof left === "number" ? left - right : left.localeCompare(right, "en", { numeric: true });
    return down ? -less : less;
  }

  function sortBy(column) { // a number's first click shows the largest; a third click, the order that was there
    const first = rows.some((row) => typeof row.keys[column] === "number");
    if (by !== column) [by, down] = [column, first];
    else if (down === first) down = !first;
    else by = null;
    heads.forEach((head, place) => head.setAttribute("aria-sort", place !== by ? "none" : down ? "descending" : "ascending"));
    find();
  }

  function draw() {
    const shown = found.slice(0, limit).map(bodyOf);
    for (const body of [...table.tBodies]) body.remove();
    table.append(...shown);
    status.textContent = found.length === rows.length ? say(rows.length) : `${numbers.format(found.length)} of ${say(rows.length)}`;
    clear.hidden = found.length === rows.length && by === null;
    const rest = found.length - shown.length;
    further.hidden = rest === 0;
    further.textContent = `show ${numbers.format(Math.min(rest, AT_ONCE))} more of ${numbers.format(rest)}`;
    changed();
  }

  function showFurther() {
    const next = limit;
    limit += AT_ONCE;
    draw();
    const target = bodyOf(found[next]).querySelector("button");
    if (further.hidden) target?.focus(); // the button that had the focus is gone
  }

  function reset() {
    search.value = "";
    for (const menu of menus) menu.value = "";
    by = null;
    for (const head of heads) head.setAttribute("aria-sort", "none");
    find();
    search.focus();
  }

  search.addEventListener("input", find);
  for (const menu of menus) menu.addEventListener("change", find);
  draw();
  return { tools, further: h("p", { class: "browse-further" }, further) };
}
