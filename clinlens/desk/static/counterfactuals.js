// What if a token were another one? Edits are jobs of their own; both attributions stand side by side, and tokens are ranked by
// how much changing them changed the answer.

import { SCALES } from "./aggregation.js";
import { figure, make, table, visible, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { Live } from "./live.js";
import { TokenStrip } from "./token_strip.js";

/** The editor of one job. */
export function editor(id, outcomes) {
  const [first] = outcomes, tokens = first.input.tokens.slice(0, first.matrix.rows), edits = new Map();
  const chosen = make("ul", { class: "edits", "aria-label": "Edits" }), remark = make("p", { role: "status", class: "soft" }), made = make("div", {}), ranking = make("div", {});
  const place = make("div", { class: "tokens-box" });
  const strip = new TokenStrip(place, tokens, { label: "Tokens to edit: click one, or choose it with the arrow keys", onFocus: (from, _, isKept) => { if (isKept && from !== null) add(from); } });
  const keep = make("input", { type: "checkbox" });
  strip.paint([{ rgb: first.colour.rgb, values: first.importance.input, intensities: SCALES.zero(first.importance.input) }]);

  function add(token) {
    if (edits.has(token) || first.input.is_special?.[token]) return;
    const input = make("input", { "aria-label": `In place of token ${token}, ${visible(tokens[token])}`, value: tokens[token], autocomplete: "off", spellcheck: "false" });
    const drop = make("button", { type: "button", class: "plain" }, "Leave as it is");
    const row = make("li", { class: "row middle" }, make("b", {}, `${token} ${visible(tokens[token])}`), " → ", input, drop);
    drop.addEventListener("click", () => { edits.delete(token); row.remove(); });
    edits.set(token, input);
    chosen.append(row);
  }

  async function send() {
    const list = [...edits].map(([token, input]) => ({ token, replacement: input.value })).filter((one) => one.replacement !== tokens[one.token]);
    if (!list.length) { remark.textContent = "Nothing is changed yet: choose a token and write another in its place."; return; }
    remark.textContent = `${list.length} edit${list.length === 1 ? " is" : "s are"} under way …`;
    try {
      const found = await jobs.counterfactuals(id, { edits: list, index: first.index, keep_answer: keep.checked });
      found.jobs.forEach((one) => follow(one.job_id, one.edit));
    } catch (error) {
      remark.textContent = error.message;
    }
  }

  function follow(jobId, edit) {
    const section = make("section", {}, make("h3", {}, `${visible(edit.was)} → ${visible(edit.replacement)}`), make("p", { class: "soft", role: "status" }, "waiting …"));
    made.prepend(section);
    new Live(jobId, async (state) => {
      if (["completed", "partial"].includes(state.status)) {
        section.replaceChildren(section.firstChild, ...sideBySide(first, await jobs.results(jobId), jobId));
        remark.textContent = "";
        rank();
      } else section.lastChild.textContent = `${state.status}${state.tasks?.find((one) => one.problem) ? `: ${state.tasks.find((one) => one.problem).problem}` : ""}`;
    });
  }

  async function rank() {
    try {
      ranking.replaceChildren(...sensitivities(await jobs.sensitivity(id)));
    } catch (error) {
      ranking.replaceChildren(make("p", { class: "soft" }, error.message));
    }
  }

  const button = make("button", { type: "button", class: "primary" }, "Compute the edits");
  button.addEventListener("click", send);
  rank();
  return [make("p", {}, "Each edit becomes a job of its own, with the same models, methods and seed."), place, chosen, make("div", { class: "row middle" }, button, make("label", { class: "check" }, keep, "explain the original’s answer, so that scores can be compared"), remark), made, ranking];
}

function sideBySide(before, record, jobId) {
  const after = record.results.find((one) => one.method === before.method && one.model === before.model) ?? record.results[0];
  const part = (name, tokens, values, said) => {
    const place = make("div", { class: "tokens-box small" }), strip = new TokenStrip(place, tokens, { label: `${name}: input tokens` });
    strip.paint([{ rgb: before.colour.rgb, values, intensities: SCALES.zero(values) }]);
    return make("div", {}, make("h4", {}, name), place, make("p", { class: "soft" }, `Answer: ${said.map(visible).join("")}`));
  };
  const importance = after.attribution.aggregated.token_importance.input;
  return [make("div", { class: "beside" }, part("As it was", before.input.tokens.slice(0, before.matrix.rows), before.importance.input, before.output.tokens), part("Edited", (after.input ?? record.input).tokens.slice(0, importance.length), importance, after.output.tokens)),
    make("p", { class: "soft" }, `By ${words(after.method)}, each side on its own scale. `, make("a", { href: `/desk/jobs/${encodeURIComponent(jobId)}` }, "Open the edited job"))];
}

/** What edits did, by model and method; and tokens by the change that taking them away makes, where a method measures that. */
function sensitivities({ rankings, measured, n_waiting: waiting }) {
  const name = (one) => `${words(one.method)}, ${one.model}`, job = (edit) => make("a", { href: `/desk/jobs/${encodeURIComponent(edit.job_id)}` }, `${visible(edit.was)} → ${visible(edit.replacement)}`);
  const edited = rankings.filter((one) => one.effects.length).map((one) => table(`Edits by what they did: ${name(one)}`, ["edit", "change of the answer’s score", "answer", "importance that moved"],
    one.effects.map((effect) => [job(effect.edit), effect.score_change, effect.is_answer_changed ? "another" : "the same", effect.moved === null ? "–" : `${figure(100 * effect.moved)} %`])));
  const tokens = measured.map((one) => table(`Tokens by the change when they are replaced: ${name(one)}`, ["token", "change of the answer’s score"], one.tokens.slice(0, 20).map((token) => [`${token.token} ${visible(token.text)}`, token.score_change])));
  return [...(edited.length || tokens.length ? [make("h3", {}, "Sensitivity")] : []), ...edited, ...tokens, ...(waiting ? [make("p", { class: "soft" }, `${waiting} edited job${waiting === 1 ? "" : "s"} not done yet.`)] : [])];
}
