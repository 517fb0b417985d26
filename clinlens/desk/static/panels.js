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
  const list = (outcome.faithfulness.completeness ?? []).map((one) => one.gap).filter((one) => one !== null && one !== undefined);
  if (!list.length) return "This method does not claim that its scores add up.";
  if (outcome.diagnostics?.kept_by_softmax) return `Attention's softmax and biases keep ${figure(100 * Math.max(...list))} % of the relevance that entered, at worst.`;
  return `Completeness gap: ${figure(100 * Math.max(...list))} % of what the scores should add up to, at worst.`;
}

function agreement(outcomes) {
  const tops = outcomes.map((one) => new Set(strongest(one.importance.input, 10)));
  const rows = outcomes.map((one, i) => [words(one.method), ...outcomes.map((other, j) => [...tops[i]].filter((place) => tops[j].has(place)).length)]);
  return table("Of the ten strongest tokens of each, how many are shared", ["", ...outcomes.map((one) => words(one.method))], rows);
}

const per = (value) => (value === null || value === undefined ? "–" : `${figure(100 * value)} %`);

/** How focused, how stable and how aligned each result is, and how far methods agree. */
export function metricsPanel({ results, agreement: pairs }) {
  const name = (one) => `${words(one.method)}, ${one.model}`;
  const concentration = results.flatMap((one) => ["input", "output"].map((side) => {
    const found = one.concentration[side];
    return [name(one), side, found.gini, found.entropy, found.n_effective, per(found.top_1), per(found.top_5), per(found.top_10)];
  }));
  const stable = results.filter((one) => one.stability).map((one) => [name(one), one.stability.spearman, per(one.stability.moved), String(one.stability.n_inputs)]);
  const aligned = results.flatMap((one) => one.alignment.map((kind) => [name(one), `${words(kind.category)} (${kind.source})`, String(kind.n_tokens), per(kind.share_of_tokens), per(kind.share_of_mass), kind.enrichment, kind.auroc]));
  return [
    make("h3", {}, "Concentration"), table("How focused the importance is", ["result", "side", "Gini", "entropy", "effective tokens", "strongest 1 holds", "5 hold", "10 hold"], concentration),
    make("h3", {}, "Stability"), stable.length ? table("Against similar inputs: those that were edited from this one", ["result", "rank correlation", "moved", "inputs"], stable) : make("p", { class: "soft" }, "Not known yet: it is measured on edited inputs, which are made below under “What if a token were another?”."),
    make("h3", {}, "Agreement of methods"), pairs.length ? table("Methods on the same model", ["methods", "model", "Kendall’s τ", "Spearman’s ρ", "shared among the strongest"], pairs.map((one) => [one.methods.map(words).join(" – "), one.model, one.kendall, one.spearman, per(one.top_k_jaccard)])) : make("p", { class: "soft" }, "One method has none to agree with."),
    make("h3", {}, "Alignment with kinds of tokens"), aligned.length ? table("What lies on each kind of token", ["result", "kind", "tokens", "of all tokens", "of importance", "enrichment", "AUROC"], aligned) : make("p", { class: "soft" }, "No kind is known of these tokens."),
  ];
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
