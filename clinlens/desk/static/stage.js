// Texts and matrix of one model: what is hovered decides what is summed, methods lay their inks over each other.

import { SCALES, combined, strongest, windowBound, windowOf } from "./aggregation.js";
import { css } from "./colours.js";
import { byId, figure, make, perFrame, say, table, visible, words } from "./elements.js";
import { Heatmap } from "./heatmap.js";
import { TokenStrip } from "./token_strip.js";

const TOGETHER_MS = 120;
/** Parts of a matrix that come within so long are drawn together, once there is a first picture. */
const NOTHING = { side: null, first: null, last: null, isKept: false };

export class Stage {
  constructor() {
    this.heatmap = new Heatmap(byId("heatmap"), {
      onCell: (row, column) => this.cell(row, column),
      onPick: (row) => { this.strips.input.keep([row, row]); },
    });
    this.c = 1;
    this.focus = NOTHING;
    this.scale = byId("scale").value;
    this.filter = null;
    this.repaint = perFrame(() => this.paint());
    byId("window").addEventListener("input", (event) => { this.c = Number(event.target.value); byId("window-value").value = this.c; this.paint(); });
    byId("scale").addEventListener("change", (event) => { this.scale = event.target.value; this.showMatrix(); this.paint(); });
    byId("whole").addEventListener("click", () => { this.heatmap.look(); byId("whole").hidden = true; });
    byId("heatmap").addEventListener("looked", () => { byId("whole").hidden = this.heatmap.isWhole; });
    byId("cells").addEventListener("toggle", () => this.showCells());
  }

  /** Shows outcomes of one model: those with the shape of the first; methods of another shape stand in the table of methods only. */
  show(outcomes) {
    const [first] = outcomes;
    const shape = ({ matrix }) => `${matrix.rows}×${matrix.columns}`;
    this.outcomes = outcomes.filter((one) => shape(one) === shape(first));
    this.shown = new Set(this.outcomes.slice(0, 1));
    const { rows, columns } = first.matrix;
    this.strips = {
      input: this.strip("input", first.input.tokens.slice(0, rows), "Input tokens", first.input.is_special),
      output: this.strip("output", first.output.tokens.slice(0, columns), "Output tokens"),
    };
    say("input-count", `${rows} tokens`);
    say("output-count", `${columns} token${columns === 1 ? "" : "s"}`);
    say("matrix-size", `${rows} × ${columns}`);
    const slider = byId("window");
    Object.assign(slider, { max: windowBound(rows, columns), value: 1 });
    slider.disabled = slider.max === "1";
    this.c = 1;
    byId("window-value").value = 1;
    this.toggles();
    this.showMatrix();
    this.paint();
    this.heatmap.onFirst(() => { for (const one of this.outcomes) one.matrix.loadRest(); });
  }

  strip(side, tokens, label, isSpecial) {
    const onFocus = (from, to, isKept) => this.look(from === null ? NOTHING : { side, first: from, last: to, isKept });
    return new TokenStrip(byId(side), tokens, { label, isSpecial, onFocus });
  }

  toggles() {
    byId("toggles").replaceChildren(...this.outcomes.map((one) => {
      const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.backgroundColor = css(one.colour.rgb);
      const button = make("button", { type: "button", "aria-pressed": String(this.shown.has(one)), "data-method": one.method }, swatch, words(one.method));
      button.addEventListener("click", () => {
        if (this.shown.has(one) && this.shown.size > 1) this.shown.delete(one);
        else this.shown.add(one);
        button.setAttribute("aria-pressed", String(this.shown.has(one)));
        this.showMatrix();
        this.paint();
      });
      return button;
    }));
  }

  get active() {
    return this.outcomes.filter((one) => this.shown.has(one));
  }

  look(focus) {
    this.focus = focus;
    const other = focus.side === "input" ? "output" : "input";
    if (focus.isKept && focus.side) this.strips[other].forget();
    this.repaint();
  }

  /** Input-centred (formula 4), output-centred (formula 5), or everything's importance (formula 6), of one outcome. */
  values(outcome, side) {
    const { matrix, importance } = outcome, { focus } = this;
    if (focus.side === null) return { sums: importance[side], isWhole: true };
    if (focus.side === side) return { sums: new Float32Array(side === "input" ? matrix.rows : matrix.columns), isWhole: true };
    const [first, last] = this.span();
    return focus.side === "input" ? matrix.sumRows(first, last) : matrix.sumColumns(first, last);
  }

  /** What the window takes in about the tokens that are looked at. */
  span() {
    const { matrix } = this.outcomes[0], { side, first, last } = this.focus;
    return windowOf(first, last, this.c, side === "input" ? matrix.rows : matrix.columns);
  }

  paint() {
    const started = performance.now();
    const { focus, active } = this;
    const toIntensity = SCALES[this.scale];
    let isWhole = true;
    const found = {};
    for (const side of ["input", "output"]) {
      found[side] = active.map((one) => {
        const { sums, isWhole: isComplete } = this.values(one, side);
        isWhole &&= isComplete;
        return { rgb: one.colour.rgb, values: sums, intensities: side === focus.side ? sums : toIntensity(sums) };
      });
      this.strips[side].paint(found[side]);
      if (side === focus.side) this.strips[side].frame(...this.span());
      else this.strips[side].frame();
    }
    const span = focus.side ? this.span() : null;
    this.heatmap.mark({ rows: focus.side === "input" ? span : null, columns: focus.side === "output" ? span : null });
    this.found = found;
    this.isWhole = isWhole;
    this.describe();
    this.paintedMs = performance.now() - started;
  }

  showMatrix() {
    this.heatmap.show(this.active.map((one) => ({ matrix: one.matrix, rgb: one.colour.rgb })), this.scale);
    const { matrix } = this.outcomes[0];
    this.heatmap.base.setAttribute("aria-label", `Attribution of ${matrix.rows} input tokens for ${matrix.columns} output tokens by ${this.active.map((one) => words(one.method)).join(" and ")}; the strongest cells are in the table below, each token’s row or column in the lists above.`);
    byId("legend").textContent = `${this.active.map((one) => `${words(one.method)}: ${one.colour.name}`).join(", ")}${this.active.length > 1 ? "; where they agree, the colours mix and darken." : "."}`;
    this.showCells();
    this.loaded();
  }

  /** How much of the matrices has come. */
  loaded() {
    const share = Math.min(...this.active.map((one) => one.matrix.loaded()));
    const problem = this.active.map((one) => one.matrix.problem).find(Boolean);
    say("loaded", problem ? `Parts could not be loaded: ${problem}` : share < 1 ? `${Math.round(100 * share)} % of the matrix is here` : "");
  }

  /** A part of a matrix came. */
  came() {
    if (this.waiting) return;
    this.waiting = setTimeout(() => {
      this.waiting = null;
      this.loaded();
      this.heatmap.repaint();
      if (!this.isWhole) this.repaint();
    }, this.heatmap.isPainted ? TOGETHER_MS : 0);
  }

  cell(row, column) {
    if (row === null) { say("cell", ""); this.heatmap.mark(this.focus.side ? this.heatmap.marks : {}); this.paint(); return; }
    const [input, output] = [this.strips.input, this.strips.output];
    const parts = this.active.map((one) => `${words(one.method)} ${figure(one.matrix.at(row, column))}`);
    say("cell", `${visible(input.tokens[row])} → ${visible(output.tokens[column])}: ${parts.join(", ")}`);
    input.frame(row, row);
    output.frame(column, column);
    this.heatmap.mark({ rows: [row, row], columns: [column, column] });
  }

  /** What is looked at, in words and as a table: what the colours say to whoever does not see them. */
  describe() {
    const { focus } = this, side = focus.side === "input" ? "output" : "input";
    const all = this.found[side].map((one) => one.values), mean = all.length > 1 ? combined(all) : all[0];
    const places = strongest(mean, 8), tokens = this.strips[side].tokens;
    if (focus.side === null) {
      say("focus-title", "All tokens");
      say("focus-text", "Each token’s importance: its row or column, summed (formula 6).");
    } else {
      const [first, last] = this.span(), own = this.strips[focus.side].tokens.slice(focus.first, focus.last + 1).map(visible).join("");
      say("focus-title", `${focus.side === "input" ? "From" : "To"} “${own.trim() || own}”`);
      const told = `${focus.side} token${first === last ? ` ${first}` : `s ${first}–${last}`}${this.isWhole ? "" : ", of which parts are still loading"}`;
      say("focus-text", `Summed over ${told}. Strongest: ${places.slice(0, 3).map((i) => `${visible(tokens[i]).trim()} ${figure(mean[i])}`).join(", ") || "none"}.`);
    }
    this.fill(places, tokens, all, mean);
  }

  /** The table is made once for each number of methods; while one hovers only its texts change. */
  fill(places, tokens, all, mean) {
    const heads = ["token", ...this.active.map((one) => words(one.method)), ...(all.length > 1 ? ["mean share"] : [])], key = heads.join("|");
    if (this.tableKey !== key) {
      this.tableKey = key;
      const rows = Array.from({ length: 8 }, () => heads.map((_, place) => (place ? 0 : "")));
      byId("focus-table").replaceChildren(table("Strongest tokens", heads, rows));
      this.rows = [...byId("focus-table").querySelectorAll("tbody tr")].map((row) => [...row.children]);
    }
    this.rows.forEach((cells, place) => {
      const i = places[place], isThere = i !== undefined;
      const texts = isThere ? [`${i} ${visible(tokens[i])}`, ...all.map((values) => figure(values[i])), figure(mean[i])] : [];
      cells.forEach((cell, column) => { const text = texts[column] ?? ""; if (cell.textContent !== text) cell.textContent = text; });
    });
  }

  showCells() {
    if (!byId("cells").open) return;
    const [one] = this.active, { matrix } = one, found = [];
    matrix.eachTile(0, (r, c, box) => {
      const tile = matrix.tiles.get(`0/${r}/${c}`);
      if (tile) for (const place of strongest(tile.values, 20)) found.push([box.row + Math.floor(place / tile.columns), box.column + (place % tile.columns), tile.values[place]]);
    });
    found.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
    const rows = found.slice(0, 20).map(([i, j, value]) => [`${i} ${visible(this.strips.input.tokens[i])}`, `${j} ${visible(this.strips.output.tokens[j])}`, value]);
    byId("cell-table").replaceChildren(table(`Strongest cells, ${words(one.method)}${matrix.loaded() < 1 ? ", of what has come so far" : ""}`, ["input token", "output token", "value"], rows));
  }
}
