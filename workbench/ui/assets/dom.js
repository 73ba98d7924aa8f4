// What surrounds elements: the host's theme, its pictures, files that are saved. `h` is that of the pages, elements.js.

const command = (label, action, more = {}) => h("button", { type: "button", class: "wb-button", onclick: action, ...more }, label);

// Focus that may be inside of a shadow tree, where some hosts put widgets.
const focusOf = (node) => node.getRootNode().activeElement ?? document.activeElement;

// Dark where the host says so, and where it says nothing, where the system does.
function watchTheme(root, changed, signal) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => {
    const { body } = document;
    if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
    if (body.dataset.vscodeThemeKind) return !body.dataset.vscodeThemeKind.includes("light");
    return system.matches;
  };
  const apply = () => {
    root.classList.toggle("wb-dark", isDark());
    changed(isDark());
  };
  const observer = new MutationObserver(apply);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind"] });
  system.addEventListener("change", apply, { signal });
  signal?.addEventListener("abort", () => observer.disconnect());
  apply();
}

// The picture that a notebook keeps for when no widget lives.
function hideStatic(root) {
  for (const still of root.closest(".jp-OutputArea")?.querySelectorAll(".wb-static") ?? [])
    still.closest(".jp-OutputArea-child")?.classList.add("wb-hidden-picture");
}

function save(name, blob) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function asPng(svg, scale = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;base64,${btoa(String.fromCharCode(...new TextEncoder().encode(svg)))}`;
  await image.decode();
  const canvas = h("canvas", { width: image.naturalWidth * scale, height: image.naturalHeight * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
