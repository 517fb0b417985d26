// Follow-ups: the turns as a timeline, what each answer owes to what was said before, and importance summed over the turns.
// Source: Kaiser (2025), formula 8 (the input of turn k holds all turns before it) and formula 11 (temporal aggregation).

import { SCALES, decayWeights, temporal } from "./aggregation.js";
import { byId, figure, make, table, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { TokenStrip } from "./token_strip.js";

const FADING = 0.5;

/** Shows the conversation that a job belongs to, if it goes on from another one or holds several turns. */
export async function conversation(id, stage, panel) {
  const [shown] = stage.outcomes, parts = partsOf(shown.input);
  const found = await jobs.timeline(id, shown.index);
  if (found.turns.length < 2 && parts.length < 2) return;
  drawTimeline(id, found.turns);
  stage.strips.input.tag((index) => { const turn = turnAt(shown.input, index); return turn === null ? "" : `turn-${turn % 2}`; });
  byId("panel-turns").hidden = false;
  panel("turns", () => [flow(found.turns), ...overTime(found, shown)]);
}

function drawTimeline(id, turns) {
  byId("timeline").hidden = turns.length < 2;
  byId("timeline").replaceChildren(make("ol", {}, turns.map((one, turn) => make("li", {}, make("a", { href: `/desk/jobs/${encodeURIComponent(one.job_id)}`, "aria-current": one.job_id === id ? "step" : null },
    make("b", {}, `Turn ${turn + 1}`), " ", said(one.output.text))))));
}

const said = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);

/** Where each turn stands in the text, in order; a turn that the model's template changed is left out. */
export const partsOf = (input) => (input.turns ?? []).filter((turn) => turn.start >= 0);

/** The turn that a token stands in; null between turns. */
export function turnAt(input, index) {
  const [start, end] = input.offsets[index], found = partsOf(input).findIndex((part) => end > part.start && start < part.end);
  return found < 0 ? null : found;
}

/** For each turn's answer: which share of importance lies on which part of what was said before it. */
function flow(turns) {
  const parts = turns.at(-1).flow, heads = parts.map((part) => `${part.number + 1}, ${part.role}`);
  const rows = turns.map((turn, n) => [`answer ${n + 1}: ${said(turn.output.text)}`, ...parts.map((_, i) => (turn.flow[i]?.share === undefined || turn.flow[i].share === null ? "–" : `${figure(100 * turn.flow[i].share)} %`))]);
  return table(`Of each answer’s importance, the share on each part of the conversation (${words(turns.at(-1).method)})`, ["", ...heads], rows);
}

/** Formula 11 with weights that fade with age, on the tokens of the last text. */
function overTime({ turns, method }, shown) {
  const place = make("div", { class: "tokens-box" }), strip = new TokenStrip(place, shown.input.tokens, { label: "Input tokens, importance summed over the turns" });
  const value = make("output", {}, String(FADING)), slider = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: FADING, "aria-label": "Weight of a turn, per turn that lies between" });
  const paint = () => {
    value.textContent = slider.value;
    const sums = temporal(turns.map((one) => one.importance), decayWeights(turns.length, Number(slider.value)));
    strip.paint([{ rgb: shown.colour.rgb, values: sums, intensities: SCALES.zero(sums) }]);
  };
  slider.addEventListener("input", paint);
  paint();
  return [make("h3", {}, `Importance summed over the turns, ${words(method)}`), make("label", { class: "field window" }, make("span", {}, "Weight of a turn, per turn that lies between: ", value), slider), place];
}
