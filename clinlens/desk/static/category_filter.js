// Linguistic and clinical kinds of tokens: highlighted, shown alone, or compared by the share of importance they hold.

import { byId, figure, make, table, words } from "./elements.js";

const MARKS = 6, ASK_AGAIN_MS = 1500, MOST_ASKED = 40;
const SAID = { pending: "A process is still looking; this list grows by itself.", still_blind: "Physicians’ labels are shown to you when your round is closed." };

/** Connects the controls of the page to a stage. ask() gives the kinds; it is asked when they are first wanted, and until all are there. */
export function categoryFilter(stage, ask) {
  const mode = byId("category-mode"), place = byId("category-list");
  let kinds = null, remarks = [], asked = 0;
  const chosen = new Set();

  async function load() {
    const found = (await ask()).models, own = found.find((one) => one.model === stage.outcomes[0].model) ?? found[0];
    kinds = own.tokens.map((token) => [...new Set(token.map(nameOf))]);
    const states = Object.values(own.state);
    remarks = [...new Set(states)].filter((state) => state in SAID).map((state) => SAID[state]);
    if (own.problem) remarks.push(own.problem);
    asked += 1;
    if (states.includes("pending") && asked < MOST_ASKED) setTimeout(() => { kinds = null; show(); }, ASK_AGAIN_MS);
  }

  async function show() {
    place.hidden = !mode.value;
    if (!mode.value) { stage.strips.input.tag(() => ""); return; }
    try {
      if (!kinds) await load();
    } catch (error) {
      place.replaceChildren(make("p", { class: "note bad", role: "alert" }, error.message));
      return;
    }
    const names = namesOf(kinds);
    if (!chosen.size) for (const name of names.slice(0, mode.value === "compare" ? MARKS : 1)) chosen.add(name);
    place.replaceChildren(...(names.length ? names.map(toggle) : [make("p", { class: "soft" }, "No kind is known of these tokens.")]), ...remarks.map((text) => make("p", { class: "soft" }, text)), make("div", { id: "category-shares" }));
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
    const order = [...chosen], isCompared = mode.value === "compare";
    stage.strips.input.tag((index) => classOf(mode.value, (kinds[index] ?? []).map((name) => order.indexOf(name)).filter((at) => at >= 0)));
    for (const button of place.querySelectorAll("button")) button.className = chosen.has(button.textContent) && isCompared ? `mark-${order.indexOf(button.textContent) % MARKS}` : "";
    byId("category-shares").replaceChildren(...(isCompared && order.length ? [shares(stage, kinds, order)] : []));
  }

  mode.onchange = show;
  show();
}

const nameOf = (kind) => `${words(kind.category)} (${kind.source})`;

/** The names that occur among the tokens, the most frequent first. */
export function namesOf(kinds) {
  const counts = new Map();
  for (const names of kinds) for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || a.localeCompare(b));
}

function classOf(mode, places) {
  if (mode === "highlight") return places.length ? "category" : "";
  if (mode === "isolate") return places.length ? "category" : "gone";
  return places.length ? `mark mark-${places[0] % MARKS}` : "";
}

/** How much of all importance the tokens of each kind hold, beside their share of the tokens. */
function shares(stage, kinds, names) {
  const rows = names.map((name) => {
    const own = kinds.flatMap((all, i) => (all.includes(name) ? [i] : []));
    const held = stage.active.map(({ importance }) => {
      const all = importance.input.reduce((sum, value) => sum + Math.abs(value), 0);
      return all ? `${figure((100 * own.reduce((sum, i) => sum + Math.abs(importance.input[i] ?? 0), 0)) / all)} %` : "–";
    });
    return [name, String(own.length), `${figure((100 * own.length) / Math.max(1, kinds.length))} %`, ...held];
  });
  return table("Share of importance that the tokens of each kind hold", ["kind", "tokens", "of all tokens", ...stage.active.map((one) => words(one.method))], rows);
}
