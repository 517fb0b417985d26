// A matrix as a picture: input tokens downwards, output tokens to the right, one ink per method.
//
// The picture is painted when methods, view or tiles change; hovering paints only the cross over it, on a second canvas.

import { diverging, shadesOf } from "./colours.js";
import { make, perFrame } from "./elements.js";
import { TILE } from "./matrix.js";

const NOT_HERE = [232, 234, 237];

export class Heatmap {
  /**
   * place: where it is drawn.
   * onCell(row, column) while the pointer moves, with nulls when it leaves; onPick when a cell is clicked.
   */
  constructor(place, { onCell = () => {}, onPick = () => {}, label = "Attribution matrix" } = {}) {
    Object.assign(this, { onCell, onPick, label, layers: [], view: null, scale: "zero", isDifference: false, isPainted: false, marks: {} });
    this.base = make("canvas", { class: "heat", role: "img", "aria-label": label });
    this.over = make("canvas", { class: "heat over", "aria-hidden": "true" });
    this.box = make("div", { class: "heat-box" }, this.base, this.over);
    place.replaceChildren(this.box);
    this.repaint = perFrame(() => this.paint());
    this.over.addEventListener("pointermove", (event) => this.moved(event));
    this.over.addEventListener("pointerleave", () => this.onCell(null, null));
    this.over.addEventListener("pointerdown", (event) => { this.from = this.cellAt(event); this.over.setPointerCapture(event.pointerId); });
    this.over.addEventListener("pointerup", (event) => this.released(event));
    new ResizeObserver(() => this.repaint()).observe(this.box);
  }

  /** layers: [{matrix, rgb}], all of one shape. */
  show(layers, scale, isDifference = false) {
    const shape = layers[0] && [layers[0].matrix.rows, layers[0].matrix.columns];
    if (shape && (!this.shape || shape[0] !== this.shape[0] || shape[1] !== this.shape[1])) this.view = { top: 0, bottom: shape[0], left: 0, right: shape[1] };
    Object.assign(this, { layers, scale, isDifference, shape });
    this.repaint();
  }

  /** Looks at a part; without arguments at the whole. */
  look(view = { top: 0, bottom: this.shape[0], left: 0, right: this.shape[1] }) {
    this.view = view;
    this.repaint();
    this.mark(this.marks);
  }

  get isWhole() {
    return !this.view || (this.view.top === 0 && this.view.left === 0 && this.view.bottom === this.shape[0] && this.view.right === this.shape[1]);
  }

  fit() {
    const width = Math.max(1, Math.round(this.box.clientWidth * devicePixelRatio)), height = Math.max(1, Math.round(this.box.clientHeight * devicePixelRatio));
    for (const canvas of [this.base, this.over]) if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    return [width, height];
  }

  paint() {
    const [width, height] = this.fit(), pen = this.base.getContext("2d");
    pen.clearRect(0, 0, width, height);
    if (!this.layers.length || !this.view) return;
    const { top, bottom, left, right } = this.view;
    const level = Math.min(this.layers[0].matrix.top, Math.max(0, Math.floor(Math.log2(Math.max((bottom - top) / height, (right - left) / width)))));
    const step = 2 ** level, box = [Math.floor(top / step), Math.ceil(bottom / step), Math.floor(left / step), Math.ceil(right / step)];
    const picture = this.picture(level, box);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, left / step - box[2], top / step - box[0], (right - left) / step, (bottom - top) / step, 0, 0, width, height);
    if (!this.isPainted && this.layers.every(({ matrix }) => matrix.range)) {
      this.isPainted = true;
      performance.mark("matrix-painted");
      this.afterFirst?.();
    }
  }

  /** Does something once there is a whole picture: what can wait until then. */
  onFirst(work) {
    this.afterFirst = work;
    if (this.isPainted) work();
  }

  /** One pixel for each value of a level, in a part of it. */
  picture(level, [top, bottom, left, right]) {
    const width = right - left, height = bottom - top, picture = new OffscreenCanvas(width, height), pen = picture.getContext("2d");
    const data = pen.createImageData(width, height), pixels = data.data;
    const fields = this.layers.map(({ matrix }) => field(matrix, level, [top, bottom, left, right]));
    const ranges = this.layers.map(({ matrix }) => rangeOf(matrix));
    const shades = this.layers.map(({ rgb }) => shadesOf(rgb)), colour = [0, 0, 0];
    for (let place = 0, at = 0; place < width * height; place += 1, at += 4) {
      const first = fields[0][place];
      if (first !== first) { pixels[at] = NOT_HERE[0]; pixels[at + 1] = NOT_HERE[1]; pixels[at + 2] = NOT_HERE[2]; } else if (this.isDifference) {
        diverging(first / (ranges[0].size || 1), colour);
        pixels[at] = colour[0]; pixels[at + 1] = colour[1]; pixels[at + 2] = colour[2];
      } else {
        let red = 255, green = 255, blue = 255;
        for (let i = 0; i < fields.length; i += 1) {
          const shade = shades[i], from = 3 * Math.round(255 * intensity(fields[i][place], ranges[i], this.scale));
          red *= shade[from]; green *= shade[from + 1]; blue *= shade[from + 2];
        }
        pixels[at] = red; pixels[at + 1] = green; pixels[at + 2] = blue;
      }
      pixels[at + 3] = 255;
    }
    pen.putImageData(data, 0, 0);
    return picture;
  }

  /** Draws the cross: rows and columns as [first, last], either may be missing. */
  mark({ rows = null, columns = null }) {
    this.marks = { rows, columns };
    const pen = this.over.getContext("2d"), { width, height } = this.over;
    pen.clearRect(0, 0, width, height);
    if (!this.view) return;
    const { top, bottom, left, right } = this.view, down = height / (bottom - top), across = width / (right - left);
    pen.lineWidth = Math.max(1, devicePixelRatio);
    for (const [colour, grow] of [["#ffffff", 1], ["#111111", 0]]) {
      pen.strokeStyle = colour;
      if (rows) pen.strokeRect(-4, (rows[0] - top) * down - grow, width + 8, Math.max(2, (rows[1] + 1 - rows[0]) * down) + 2 * grow);
      if (columns) pen.strokeRect((columns[0] - left) * across - grow, -4, Math.max(2, (columns[1] + 1 - columns[0]) * across) + 2 * grow, height + 8);
    }
  }

  cellAt(event) {
    if (!this.view) return null;
    const box = this.over.getBoundingClientRect(), { top, bottom, left, right } = this.view;
    const row = Math.floor(top + ((event.clientY - box.top) / box.height) * (bottom - top));
    const column = Math.floor(left + ((event.clientX - box.left) / box.width) * (right - left));
    return [Math.min(bottom - 1, Math.max(top, row)), Math.min(right - 1, Math.max(left, column))];
  }

  moved(event) {
    const cell = this.cellAt(event);
    if (!cell) return;
    if (this.from && event.buttons) this.mark({ rows: ordered(this.from[0], cell[0]), columns: ordered(this.from[1], cell[1]) });
    else this.onCell(...cell);
  }

  /** A drag looks closer; a click picks a cell. */
  released(event) {
    const cell = this.cellAt(event), from = this.from;
    this.from = null;
    if (!cell || !from) return;
    const [top, bottom] = ordered(from[0], cell[0]), [left, right] = ordered(from[1], cell[1]);
    if (bottom - top < 2 && right - left < 2) { this.onPick(...cell); return; }
    this.look({ top, bottom: Math.max(bottom + 1, top + 4), left, right: Math.max(right + 1, left + 4) });
    this.box.dispatchEvent(new CustomEvent("looked", { bubbles: true }));
  }
}

const ordered = (one, other) => [Math.min(one, other), Math.max(one, other)];

/** Values of a part of a level; where a tile is not here, those of the coarsest level, and NaN where that is not here either. */
function field(matrix, level, [top, bottom, left, right]) {
  const width = right - left, found = new Float32Array((bottom - top) * width).fill(NaN);
  for (let r = Math.floor(top / TILE); r * TILE < bottom; r += 1) {
    for (let c = Math.floor(left / TILE); c * TILE < right; c += 1) {
      const tile = matrix.tile(level, r, c);
      const rows = [Math.max(top, r * TILE), Math.min(bottom, (r + 1) * TILE)], columns = [Math.max(left, c * TILE), Math.min(right, (c + 1) * TILE)];
      for (let i = rows[0]; i < rows[1]; i += 1) {
        for (let j = columns[0]; j < columns[1]; j += 1) {
          if (tile && i - r * TILE < tile.rows && j - c * TILE < tile.columns) found[(i - top) * width + j - left] = tile.values[(i - r * TILE) * tile.columns + j - c * TILE];
          else if (!tile) found[(i - top) * width + j - left] = coarse(matrix, level, i, j);
        }
      }
    }
  }
  return found;
}

function coarse(matrix, level, row, column) {
  const shift = matrix.top - level, i = row >> shift, j = column >> shift;
  const tile = matrix.tiles.get(`${matrix.top}/${Math.floor(i / TILE)}/${Math.floor(j / TILE)}`);
  return tile ? tile.values[(i % TILE) * tile.columns + (j % TILE)] : NaN;
}

/** Least, greatest and largest magnitude, from the coarsest level, which keeps the strongest of both signs apart from ties. */
export function rangeOf(matrix) {
  if (matrix.range) return matrix.range;
  let low = Infinity, high = -Infinity, isWhole = true;
  matrix.eachTile(matrix.top, (r, c) => {
    const tile = matrix.tile(matrix.top, r, c);
    if (!tile) { isWhole = false; return; }
    for (const value of tile.values) { if (value < low) low = value; if (value > high) high = value; }
  });
  const range = { low: Math.min(low, high), high, size: Math.max(Math.abs(low), Math.abs(high)) };
  if (isWhole) matrix.range = range;
  return range;
}

export function intensity(value, { low, high, size }, scale) {
  if (scale === "minmax") return high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0;
  return size > 0 ? Math.min(1, Math.abs(value) / size) : 0;
}
