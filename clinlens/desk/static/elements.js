// Elements are built, never written as text: what came from a note can be nothing but text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that are null or false are left out; `on` holds listeners; strings among the children are text. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for a drawing. */
export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A table with a caption; rows are lists of cells, each a text, a number or an element. Numbers stand at the right. */
export function table(caption, heads, rows) {
  const cell = (value, place) => {
    const isNumber = typeof value === "number";
    return make(place === 0 ? "th" : "td", { scope: place === 0 ? "row" : null, class: isNumber ? "number" : null }, isNumber ? figure(value) : value ?? "–");
  };
  const numeric = heads.map((_, place) => rows.some((row) => typeof row[place] === "number"));
  return make("div", { class: "table", role: "region", "aria-label": caption, tabindex: 0 }, make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, heads.map((head, place) => make("th", { scope: "col", class: numeric[place] ? "number" : null }, head)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell))))));
}

/** A number with three significant digits; a dash where there is none. */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0 || Number.isInteger(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  return (size >= 1000 ? value.toFixed(0) : size < 0.001 ? value.toExponential(1) : value.toPrecision(3)).replace("-", "−");
}

/** A token as people can see it: line ends, tabs and other invisible characters become signs. */
export function visible(text) {
  if (!text) return "∅";
  return text.replace(/\r?\n/g, "↵").replaceAll("\t", "⇥").replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "·");
}

/** A code as words: `gradient_input` is `gradient input`. */
export const words = (code) => code.replaceAll("_", " ");

/** A stored time to the minute. */
export const when = (time) => (time ? `${time.slice(0, 16).replace("T", " ")} UTC` : "–");

/** Tells a screen reader, and whoever looks at the line of state, what is so now. */
export function say(id, text) {
  const place = byId(id);
  if (place && place.textContent !== text) place.textContent = text;
}

/** At most one call per frame, with the last arguments. */
export function perFrame(work) {
  let last = null;
  return (...given) => {
    if (last === null) requestAnimationFrame(() => { const now = last; last = null; work(...now); });
    last = given;
  };
}

/** Saves what was made here as a file. */
export function save(name, text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
