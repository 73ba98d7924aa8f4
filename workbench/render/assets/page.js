// Every table of the page that is to be looked through; without this script it is a table.

document.querySelectorAll(".browse").forEach((root, number) => {
  const table = root.querySelector("table");
  const rows = [...table.tBodies].map((body) => {
    const cells = [...body.rows[0].cells];
    const more = body.rows[1] ?? null;
    if (more) { // the row below is opened by its name, not by a triangle of its own
      const details = more.querySelector("details");
      more.cells[0].replaceChildren(...[...details.childNodes].filter((node) => node.localName !== "summary"));
    }
    return {
      body, more, head: cells[1],
      text: (body.rows[0].textContent + (more?.textContent ?? "")).toLowerCase(),
      picks: JSON.parse(body.dataset.picks),
      keys: cells.map((cell) => ("key" in cell.dataset ? Number(cell.dataset.key) : cell.classList.contains("right") ? null : cell.textContent)),
    };
  });
  const { picks, noun } = root.dataset;
  const { tools, further } = makeBrowse({ table, rows, picks: JSON.parse(picks), noun: JSON.parse(noun), id: `browse-${number}` });
  root.prepend(tools);
  root.append(further);
});
