// Linguistic and clinical categories of tokens: highlighted, shown alone, or compared by the share of importance they hold.

import { byId, figure, make, table, words } from "./elements.js";

const MARKS = 6;

/** Connects the controls of the page to a stage. ask() gives the categories; it is asked once, when they are first wanted. */
export function categoryFilter(stage, ask) {
  const mode = byId("category-mode"), place = byId("category-list");
  let found = null;
  const chosen = new Set();

  async function show() {
    place.hidden = !mode.value;
    if (!mode.value) { clear(stage); return; }
    try {
      found ??= await ask();
    } catch (error) {
      place.replaceChildren(make("p", { class: "note bad", role: "alert" }, error.message));
      return;
    }
    const names = namesOf(found);
    if (!chosen.size) for (const name of names.slice(0, mode.value === "compare" ? MARKS : 1)) chosen.add(name);
    place.replaceChildren(...(names.length ? names.map(toggle) : [make("p", { class: "soft" }, "No category is known for these tokens.")]), make("div", { id: "category-shares" }));
    apply();
  }

  function toggle(name) {
    const button = make("button", { type: "button", "aria-pressed": String(chosen.has(name)) }, name);
    button.addEventListener("click", () => {
      if (chosen.has(name)) chosen.delete(name); else chosen.add(name);
      button.setAttribute("aria-pressed", String(chosen.has(name)));
      apply();
    });
    return button;
  }

  function apply() {
    const order = [...chosen];
    for (const side of ["input", "output"]) {
      const own = found[side] ?? [];
      stage.strips[side].tag((index) => classOf(mode.value, (own[index] ?? []).filter((name) => chosen.has(name)).map((name) => order.indexOf(name)), side === "input" || own.length > 0));
    }
    for (const button of place.querySelectorAll("button")) button.className = chosen.has(button.textContent) && mode.value === "compare" ? `mark-${order.indexOf(button.textContent) % MARKS}` : "";
    byId("category-shares").replaceChildren(...(mode.value === "compare" && order.length ? [shares(stage, found, order)] : []));
  }

  mode.onchange = show;
  show();
}

/** The names that occur among the tokens, the most frequent first. */
export function namesOf(found) {
  const counts = new Map();
  for (const side of ["input", "output"]) for (const names of found[side] ?? []) for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || a.localeCompare(b));
}

function classOf(mode, places, isKnown) {
  if (!isKnown) return "";
  if (mode === "highlight") return places.length ? "category" : "";
  if (mode === "isolate") return places.length ? "category" : "gone";
  return places.length ? `mark mark-${places[0] % MARKS}` : "";
}

function clear(stage) {
  for (const side of ["input", "output"]) stage.strips[side].tag(() => "");
}

/** How much of all importance the tokens of each category hold, beside their share of the tokens. */
function shares(stage, found, names) {
  const tokens = found.input ?? [], n = tokens.length || 1;
  const rows = names.map((name) => {
    const own = tokens.flatMap((all, i) => (all.includes(name) ? [i] : []));
    const held = stage.active.map(({ importance }) => {
      const all = importance.input.reduce((sum, value) => sum + Math.abs(value), 0);
      return all ? own.reduce((sum, i) => sum + Math.abs(importance.input[i] ?? 0), 0) / all : null;
    });
    return [name, String(own.length), `${figure((100 * own.length) / n)} %`, ...held.map((value) => (value === null ? "–" : `${figure(100 * value)} %`))];
  });
  return table("Share of importance that each category’s tokens hold", ["category", "tokens", "of all tokens", ...stage.active.map((one) => words(one.method))], rows);
}
