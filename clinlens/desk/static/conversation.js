// Follow-ups: the turns as a timeline, what each turn owes to the earlier ones, and importance summed over the turns.
// Source: Kaiser (2025), formula 8 (the input of turn k holds all turns before it) and formula 11 (temporal aggregation).

import { SCALES, decayWeights, temporal } from "./aggregation.js";
import { byId, figure, make, table, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { TokenStrip } from "./token_strip.js";

const MOST_TURNS = 50;

/** Shows the conversation that a job belongs to, if it goes on from another one or holds several turns. */
export async function conversation(id, record, stage, panel) {
  const chain = await chainOf(record), parts = partsOf(record.input);
  if (chain.length < 2 && parts.length < 2) return;
  timeline(id, chain);
  stage.strips.input.tag((index) => { const turn = turnOf(parts, record.input, index); return turn === null ? "" : `turn-${turn % 2}`; });
  byId("panel-turns").hidden = false;
  panel("turns", () => [flow(chain), overTime(chain, stage)].flat());
}

/** The records of the jobs before this one, the first turn first. */
async function chainOf(record) {
  const chain = [record];
  let before = record.options?.follow_up_of;
  while (before && chain.length < MOST_TURNS) {
    try {
      const earlier = await jobs.results(before);
      chain.unshift(earlier);
      before = earlier.options?.follow_up_of;
    } catch {
      break; // it was deleted: the timeline begins after it
    }
  }
  return chain;
}

function timeline(id, chain) {
  byId("timeline").hidden = chain.length < 2;
  byId("timeline").replaceChildren(make("ol", {}, chain.map((one, turn) => make("li", {}, make("a", { href: `/desk/jobs/${encodeURIComponent(one.job_id)}`, "aria-current": one.job_id === id ? "step" : null },
    make("b", {}, `Turn ${turn + 1}`), " ", lastWords(one))))));
}

function lastWords({ input }) {
  const last = partsOf(input).findLast((part) => part.role === "user"), said = last ? input.text.slice(last.start, last.end) : input.text;
  return said.length > 60 ? `… ${said.slice(-60)}` : said;
}

/** Where each turn stands in the text, in order; a turn that the model's template changed is left out. */
export const partsOf = (input) => (input.turns ?? []).filter((turn) => turn.start >= 0);

function turnOf(parts, input, index) {
  const [start, end] = input.offsets?.[index] ?? [0, 0];
  const found = parts.findIndex((part) => end > part.start && start < part.end);
  return found < 0 ? null : found;
}

/** For each turn's answer: which share of importance lies on which earlier turn. */
function flow(chain) {
  const last = chain.at(-1), heads = partsOf(last.input).map((part, i) => `${i + 1}, ${part.role}`);
  const rows = chain.flatMap((record, turn) => record.results.map((result) => {
    const parts = partsOf(record.input), held = new Float64Array(heads.length);
    let all = 0;
    result.attribution.aggregated.token_importance.input.forEach((value, i) => {
      const own = turnOf(parts, record.input, i);
      all += Math.abs(value);
      if (own !== null) held[own] += Math.abs(value);
    });
    return [`answer ${turn + 1}, ${words(result.method)}`, ...heads.map((_, i) => (i < parts.length && all ? `${figure((100 * held[i]) / all)} %` : "–"))];
  }));
  return table("Of each answer’s importance, the share that lies on each part of the conversation", ["", ...heads], rows);
}

/** Formula 11 with weights that fade: α of a turn that lies d turns back is fading to the power of d. */
function overTime(chain, stage) {
  const method = stage.active[0].method, last = chain.at(-1);
  const of = (record) => record.results.find((one) => one.method === method && one.model === stage.active[0].model)?.attribution.aggregated.token_importance.input ?? [];
  const turns = chain.map((record) => of(record).slice(0, shared(record.input.tokens, last.input.tokens)));
  const place = make("div", { class: "tokens-box" }), strip = new TokenStrip(place, last.input.tokens, { label: "Input tokens, importance summed over the turns" });
  const value = make("output", {}, "0.5"), slider = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.5, "aria-label": "Fading of earlier turns" });
  const paint = () => {
    value.textContent = slider.value;
    const sums = temporal(turns, decayWeights(turns.length, Number(slider.value)));
    strip.paint([{ rgb: stage.active[0].colour.rgb, values: sums, intensities: SCALES.zero(sums) }]);
  };
  slider.addEventListener("input", paint);
  paint();
  const lost = chain.findIndex((record, turn) => turns[turn].length < record.input.tokens.length);
  return [make("h3", {}, `Importance summed over the turns, ${words(method)}`), make("label", { class: "field window" }, make("span", {}, "Weight of a turn, per turn that lies between ", value), slider), place,
    lost < 0 ? null : make("p", { class: "note" }, `Turn ${lost + 1} is read with other tokens than later; what comes after the first that differs is left out.`)];
}

/** How many tokens two texts begin with alike. */
export function shared(one, other) {
  let count = 0;
  while (count < one.length && count < other.length && one[count] === other[count]) count += 1;
  return count;
}
