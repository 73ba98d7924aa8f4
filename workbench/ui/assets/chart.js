// The training chart. Python draws the picture and says every number as text (`state`); this file shows the numbers at one step.

function render({ model, el, signal }) {
  const id = `wb-${Math.random().toString(36).slice(2)}`;
  let dark = false;
  let followed = true; // the newest step is read until the reader chooses another one

  const image = h("img", { alt: "" });
  const line = h("div", { class: "wb-line", "aria-hidden": "true" });
  const picture = h("div", { class: "wb-picture" }, image, line);
  const slider = h("input", { type: "range", min: 0, step: 1, id, class: "wb-slider" });
  const label = h("label", { for: id });
  const readings = h("div", { class: "wb-readings", role: "group", "aria-label": "numbers at this step" });
  const root = h("div", { class: "wb-chart", role: "group", "aria-label": "Training chart" },
    picture, h("div", { class: "wb-chosen" }, label, slider), readings);

  const state = () => model.get("state");

  function read() {
    const { places, curves, frames, label: axis } = state();
    const place = Number(slider.value);
    const shown = places.length > 0;
    label.textContent = shown ? `${axis} ${places[place].toLocaleString("en")}` : `no ${axis} yet`;
    slider.setAttribute("aria-valuetext", label.textContent);
    line.hidden = slider.hidden = readings.hidden = !shown;
    if (!shown) return;
    const groups = Map.groupBy(curves, ([panel]) => panel);
    readings.replaceChildren(...[...groups].map(([panel, entries]) => h("div", {},
      h("p", { class: "wb-quiet" }, panel),
      ...entries.map(([, name, texts]) => h("p", {}, h("span", {}, name), " ", h("code", {}, texts[place] || "–"))))));
    const [left, top, width, , low, high] = frames[0];
    const last = frames[frames.length - 1];
    line.style.left = `${100 * (left + (width * (places[place] - low)) / (high - low))}%`;
    line.style.top = `${100 * top}%`;
    line.style.height = `${100 * (last[1] + last[3] - top)}%`;
  }

  // The still picture is replaced while the run goes on, and comes back as a new element each time.
  const hider = new MutationObserver(() => hideStatic(root));
  function hide() {
    const area = root.closest(".jp-OutputArea");
    if (area) hider.observe(area, { childList: true, subtree: true });
    hideStatic(root);
  }

  function draw() {
    const { light, dark: night, said, places } = state();
    image.src = dark ? night : light;
    image.alt = said;
    slider.max = Math.max(places.length - 1, 0);
    if (followed) slider.value = slider.max;
    read();
    hide();
  }

  slider.addEventListener("input", () => {
    followed = slider.value === slider.max;
    read();
  });
  picture.addEventListener("pointermove", (event) => {
    const { places, frames } = state();
    if (!places.length) return;
    const box = image.getBoundingClientRect();
    const [left, , width, , low, high] = frames[0];
    const value = low + (((event.clientX - box.left) / box.width - left) / width) * (high - low);
    const after = places.findIndex((entry) => entry >= value);
    const right = after < 0 ? places.length - 1 : after;
    const nearer = right > 0 && value - places[right - 1] < places[right] - value ? right - 1 : right;
    slider.value = nearer;
    followed = false;
    read();
  });
  picture.addEventListener("pointerleave", () => {
    followed = true;
    slider.value = slider.max;
    read();
  });
  root.addEventListener("keydown", (event) => event.stopPropagation());
  model.on("change:state", draw);
  signal?.addEventListener("abort", () => model.off("change:state", draw));
  el.append(root);
  watchTheme(root, (now) => {
    dark = now;
    draw();
  }, signal);
  requestAnimationFrame(hide); // the output is in the page only now
  signal?.addEventListener("abort", () => hider.disconnect());
}

export default { render };
