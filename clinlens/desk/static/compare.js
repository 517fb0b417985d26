// Two results side by side, also of different models: their tokens are aligned, and what is looked at in one is looked at in the other.

import { SCALES, windowBound, windowOf } from "./aggregation.js";
import { PALETTE } from "./colours.js";
import { byId, figure, make, perFrame, say, table, visible, words } from "./elements.js";
import { Heatmap } from "./heatmap.js";
import * as jobs from "./jobs.js";
import { Matrix } from "./matrix.js";
import { outcomesOf } from "./outcomes.js";
import { TokenStrip } from "./token_strip.js";

const form = byId("sides");
const SIDES = ["left", "right"], LISTED = 50;
let shown = null;

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

/** The results that can be chosen: those of the latest jobs, and those in the address. */
async function choices() {
  const given = new URLSearchParams(location.search), listed = await jobs.list({ status: "completed", sort: "created_at", order: "desc", page: 1, per_page: LISTED });
  for (const side of SIDES) {
    const options = listed.jobs.flatMap((job) => job.models.flatMap((model, m) => job.methods.map((method, k) => ({ value: `${job.job_id}:${m * job.methods.length + k}`, text: `${job.title || job.job_id.slice(0, 8)}: ${model}, ${words(method)}` }))));
    const wanted = given.get(side);
    if (wanted && !options.some((one) => one.value === wanted)) options.unshift({ value: wanted, text: `job ${wanted}` });
    form.elements[side].replaceChildren(make("option", { value: "" }, "choose a result"), ...options.map(({ value, text }) => make("option", { value, selected: value === wanted }, text)));
  }
}

async function load() {
  const [left, right] = SIDES.map((side) => form.elements[side].value);
  if (!left || !right) return;
  history.replaceState(null, "", `?left=${encodeURIComponent(left)}&right=${encodeURIComponent(right)}`);
  problem("");
  try {
    const [found, ...records] = await Promise.all([jobs.compare(left, right, byId("units").value), ...[left, right].map((one) => jobs.results(one.split(":")[0]))]);
    shown = new Pair(found, records.map((record, i) => outcomesOf(record, () => shown?.came())[Number([left, right][i].split(":")[1])]));
  } catch (error) {
    problem(error.message);
  }
}

/** One comparison. */
class Pair {
  constructor(found, outcomes) {
    Object.assign(this, { found, outcomes, c: 1, focus: null });
    byId("pair").hidden = byId("difference").hidden = false;
    this.repaint = perFrame(() => this.paint());
    this.strips = SIDES.map((side, i) => this.stripsOf(side, outcomes[i], i));
    const bound = Math.min(...outcomes.map(({ matrix }) => windowBound(matrix.rows, matrix.columns)));
    Object.assign(byId("window"), { max: bound, value: 1, disabled: bound === 1 });
    byId("window").oninput = (event) => { this.c = Number(event.target.value); byId("window-value").value = this.c; this.paint(); };
    byId("scale").onchange = () => this.paint();
    this.showDifference();
    this.showAlignment();
    this.paint();
    for (const { matrix } of outcomes) matrix.loadRest();
  }

  stripsOf(name, outcome, i) {
    say(`${name}-heading`, `${outcome.model}, ${words(outcome.method)}`);
    const made = {}, { rows, columns } = outcome.matrix;
    for (const side of ["input", "output"]) {
      const tokens = side === "input" ? outcome.input.tokens.slice(0, rows) : outcome.output.tokens.slice(0, columns);
      made[side] = new TokenStrip(byId(`${name}-${side}`), tokens, { label: `${name}: ${side} tokens`, onFocus: (first, last) => { this.focus = first === null ? null : { i, side, first, last }; this.repaint(); } });
    }
    return made;
  }

  /** The tokens of the other result that were aligned with some of this one. */
  partners(side, from, first, last) {
    const [mine, other] = from === 0 ? ["left", "right"] : ["right", "left"];
    const to = this.found[side].units.filter((unit) => unit[mine].some((place) => place >= first && place <= last)).flatMap((unit) => unit[other]);
    return to.length ? [Math.min(...to), Math.max(...to)] : null;
  }

  paint() {
    const toIntensity = SCALES[byId("scale").value];
    this.outcomes.forEach((outcome, i) => {
      const { focus } = this, span = focus && (focus.i === i ? [focus.first, focus.last] : this.partners(focus.side, focus.i, focus.first, focus.last));
      const ink = PALETTE[i].rgb, clear = (strip) => strip.paint([]);
      for (const side of ["input", "output"]) {
        const strip = this.strips[i][side];
        if (!focus) { this.put(strip, ink, outcome.importance[side], toIntensity); strip.frame(); } else if (side === focus.side) { clear(strip); if (span) strip.frame(...this.around(outcome, side, span)); else strip.frame(); } else if (!span) { clear(strip); strip.frame(); } else {
          const { sums } = focus.side === "input" ? outcome.matrix.sumRows(...this.around(outcome, "input", span)) : outcome.matrix.sumColumns(...this.around(outcome, "output", span));
          this.put(strip, ink, sums, toIntensity);
          strip.frame();
        }
      }
    });
    if (this.focus) {
      const { i, side, first, last } = this.focus, other = this.partners(side, i, first, last), name = (k, span) => (span ? this.strips[k][side].tokens.slice(span[0], span[1] + 1).map(visible).join("") : "nothing");
      say("remark", `${SIDES[i]}: “${name(i, [first, last])}”; aligned with “${name(1 - i, other)}”.`);
    } else say("remark", "What is looked at in one is looked at in the other, as far as their tokens could be aligned.");
  }

  around(outcome, side, [first, last]) {
    return windowOf(first, last, this.c, side === "input" ? outcome.matrix.rows : outcome.matrix.columns);
  }

  put(strip, rgb, values, toIntensity) {
    strip.paint([{ rgb, values, intensities: toIntensity(values) }]);
  }

  came() {
    this.repaint();
  }

  /** The words of a unit of one side of the matrix. */
  unit(side, place) {
    const { text_left: left, text_right: right } = this.found[side].units[place], step = left === right || !right ? left : left ? `${left}|${right}` : right;
    return `${place} ${visible(step)}`;
  }

  showDifference() {
    const { difference: { matrix: values, level, shape }, n_not_comparable: lost, agreement, stability } = this.found, matrix = Matrix.of(values, NaN), step = 2 ** level;
    const name = (i, j) => `${this.unit("input", i * step)} → ${this.unit("output", j * step)}`;
    this.heatmap = new Heatmap(byId("heatmap"), { label: "Left minus right", onCell: (i, j) => say("cell", i === null ? "" : `${name(i, j)}: ${figure(matrix.at(i, j))}`) });
    this.heatmap.show([{ matrix, rgb: PALETTE[0].rgb }], "zero", true);
    say("difference-size", `${shape[0]} × ${shape[1]} common units`);
    say("remark-difference", `${level ? `Every ${step} × ${step} units are drawn as the one that differs most. ` : ""}${lost ? `${lost} cells stand on one side alone and are grey. ` : ""}Of the tokens’ importance: Spearman’s ρ ${figure(agreement.spearman)}, Kendall’s τ ${figure(agreement.kendall)}, ${figure(100 * (agreement.top_k_jaccard ?? 0))} % shared among the strongest ${agreement.k}; ${stability.moved === null ? "" : `${figure(100 * stability.moved)} % of it lies elsewhere.`}`);
    const cells = values.flatMap((row, i) => row.map((value, j) => [i, j, value])).filter(([, , value]) => value !== null).sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, 20);
    byId("cell-table").replaceChildren(table("Largest differences", ["input", "output", "left minus right"], cells.map(([i, j, value]) => [this.unit("input", i * step), this.unit("output", j * step), value])));
    byId("whole").hidden = true;
    byId("whole").onclick = () => { this.heatmap.look(); byId("whole").hidden = true; };
    byId("heatmap").firstElementChild.addEventListener("looked", () => { byId("whole").hidden = this.heatmap.isWhole; });
  }

  showAlignment() {
    const rows = (side) => this.found[side].units.map((unit) => [visible(unit.text_left) || "nothing", unit.text_right ? visible(unit.text_right) : "nothing", unit.is_changed ? "differs" : unit.left.length === 1 && unit.right.length === 1 ? "one to one" : `${unit.left.length} to ${unit.right.length}`]);
    byId("aligned").lastElementChild.replaceChildren(...["input", "output"].map((side) => table(`Aligned ${side} tokens`, ["left", "right", "how"], rows(side))));
  }
}

form.addEventListener("change", (event) => { if (event.target.name) load(); });
form.addEventListener("submit", (event) => event.preventDefault());
choices().then(load).catch((error) => problem(error.message));
