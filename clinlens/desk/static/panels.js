// What stands below the matrix: methods beside each other, measures, tokens' statistics, where the numbers come from.

import { SCALES, strongest } from "./aggregation.js";
import { css } from "./colours.js";
import { figure, make, table, visible, words } from "./elements.js";
import { TokenStrip } from "./token_strip.js";

/** One strip per method, each on its own scale, with its completeness gap; then how far they agree. */
export function methodsPanel(outcomes) {
  const strips = outcomes.map((one) => {
    const place = make("div", { class: "tokens-box small" });
    const strip = new TokenStrip(place, one.input.tokens.slice(0, one.matrix.rows), { label: `Input tokens by ${words(one.method)}` });
    strip.paint([{ rgb: one.colour.rgb, values: one.importance.input, intensities: SCALES.zero(one.importance.input) }]);
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = css(one.colour.rgb);
    const most = Math.max(0, ...one.importance.input.map(Math.abs));
    return make("section", {}, make("h3", {}, swatch, " ", words(one.method)), place, make("p", { class: "soft" }, `Full colour: ${figure(most)}. ${gap(one)}`));
  });
  return [make("p", { class: "soft" }, "Each method on its own scale: their units differ."), make("div", { class: "beside" }, strips), outcomes.length > 1 ? agreement(outcomes) : null];
}

/** What the sum of scores leaves of what it should add up to, where the method claims that. */
export function gap(outcome) {
  const list = outcome.faithfulness.completeness ?? [];
  if (!list.length) return "This method does not claim that its scores add up.";
  const worst = list.reduce((a, b) => (Math.abs(b.gap ?? b.error ?? 0) > Math.abs(a.gap ?? a.error ?? 0) ? b : a));
  return `Completeness gap ${figure(worst.gap ?? worst.error ?? null)}${worst.relative === undefined ? "" : ` (${figure(100 * worst.relative)} %)`}.`;
}

function agreement(outcomes) {
  const tops = outcomes.map((one) => new Set(strongest(one.importance.input, 10)));
  const rows = outcomes.map((one, i) => [words(one.method), ...outcomes.map((other, j) => [...tops[i]].filter((place) => tops[j].has(place)).length)]);
  return table("Of the ten strongest tokens of each, how many are shared", ["", ...outcomes.map((one) => words(one.method))], rows);
}

/** The server's measures as tables: groups of names and figures, or lists of such. */
export function metricsPanel(found) {
  return Object.entries(found).filter(([, value]) => value && typeof value === "object").map(([name, value]) => make("section", {}, make("h3", {}, words(name)), ...measures(name, value)));
}

function measures(name, value) {
  const list = Array.isArray(value) ? value : [value];
  if (!list.length) return [make("p", { class: "soft" }, "Nothing to measure here.")];
  if (list.every((one) => one !== null && typeof one === "object")) {
    const flat = list.map((one) => flattened(one)), heads = [...new Set(flat.flatMap(Object.keys))];
    return [table(words(name), heads.map(words), flat.map((one) => heads.map((head) => shown(one[head]))))];
  }
  return [make("p", {}, list.map(shown).join(", "))];
}

const shown = (value) => (typeof value === "number" || value === null || value === undefined ? value ?? null : typeof value === "boolean" ? (value ? "yes" : "no") : Array.isArray(value) ? value.map((one) => (typeof one === "number" ? figure(one) : String(one))).join(", ") : String(value));

function flattened(value, before = "") {
  const found = {};
  for (const [key, inner] of Object.entries(value)) {
    if (inner !== null && typeof inner === "object" && !Array.isArray(inner)) Object.assign(found, flattened(inner, `${before}${key} `));
    else found[before + key] = inner;
  }
  return found;
}

/** Every token with its importance by each method; and what the model thought at each step. */
export function tokensPanel(outcomes) {
  const [first] = outcomes, tokens = first.input.tokens.slice(0, first.matrix.rows);
  const places = strongest(tokens.map((_, i) => Math.max(...outcomes.map((one) => Math.abs(one.importance.input[i] ?? 0)))), 100);
  const rows = places.map((i) => [`${i} ${visible(tokens[i])}`, ...outcomes.map((one) => one.importance.input[i] ?? null), ...outcomes.map((one) => share(one, i))]);
  const heads = ["input token", ...outcomes.map((one) => words(one.method)), ...outcomes.map((one) => `share, ${words(one.method)}`)];
  const names = Object.keys(first.steps).filter((name) => Array.isArray(first.steps[name]));
  const steps = first.output.tokens.map((token, j) => [`${j} ${visible(token)}`, ...names.map((name) => first.steps[name][j] ?? null), ...outcomes.map((one) => one.importance.output[j] ?? null)]);
  return [
    table(`The ${rows.length} tokens with the largest importance`, heads, rows),
    table("Output tokens: what the model thought of each, and importance", ["output token", ...names.map(words), ...outcomes.map((one) => words(one.method))], steps),
  ];
}

function share(outcome, i) {
  const all = outcome.importance.input.reduce((sum, value) => sum + Math.abs(value), 0);
  return all ? Math.abs(outcome.importance.input[i]) / all : null;
}

/** What each method was found to be worth, and all that decided the result. */
export function originPanel(outcomes, record) {
  const each = outcomes.map((one) => make("section", {}, make("h3", {}, words(one.method)),
    one.faithfulness.caveat ? make("p", { class: "note warn" }, one.faithfulness.caveat) : null,
    make("p", {}, gap(one)),
    make("details", {}, make("summary", {}, "Settings, model, versions"), make("pre", { tabindex: 0 }, JSON.stringify(one.origin, null, 2)))));
  return [...each, make("p", { class: "soft" }, `Job ${record.job_id}, created ${record.created_at ?? "–"}, completed ${record.completed_at ?? "–"}.`)];
}
