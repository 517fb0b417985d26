// An attribution matrix in tiles, so that one of any size can be looked at before all of it is here.
//
// 1. Tiles are TILE × TILE values of one level; level n holds, for every 2ⁿ × 2ⁿ values, the one of largest magnitude.
// 2. A matrix that came whole is cut into tiles here; any other asks the server, what is looked at first, the rest in idle time.
// 3. Tiles that were not used for longest are let go when there are too many.

import { tile as fetchTile } from "./jobs.js";

export const TILE = 256;
const MOST_TILES = 512;
const AT_ONCE = 4;

export class Matrix {
  /** address: where tiles come from; null where the values are given. */
  constructor(rows, columns, address = null, onTile = () => {}) {
    Object.assign(this, { rows, columns, address, onTile });
    this.tiles = new Map();
    this.asked = new Map();
    this.waiting = [];
    this.running = 0;
    this.problem = null;
    this.top = Math.max(0, Math.ceil(Math.log2(Math.max(rows, columns) / 512)));
  }

  /** A matrix whose values are here, as rows of numbers; what is none counts as 0, or as it is told. */
  static of(rows, missing = 0) {
    const made = new Matrix(rows.length, rows[0]?.length ?? 0);
    made.eachTile(0, (r, c, box) => {
      const values = new Float32Array(box.rows * box.columns);
      for (let i = 0; i < box.rows; i += 1) for (let j = 0; j < box.columns; j += 1) values[i * box.columns + j] = rows[box.row + i][box.column + j] ?? missing;
      made.tiles.set(`0/${r}/${c}`, { rows: box.rows, columns: box.columns, values });
    });
    return made;
  }

  size(level) {
    return [Math.ceil(this.rows / 2 ** level), Math.ceil(this.columns / 2 ** level)];
  }

  eachTile(level, work) {
    const [rows, columns] = this.size(level);
    for (let row = 0; row < rows; row += TILE) {
      for (let column = 0; column < columns; column += TILE) {
        work(row / TILE, column / TILE, { row, column, rows: Math.min(TILE, rows - row), columns: Math.min(TILE, columns - column) });
      }
    }
  }

  /** A tile, or undefined while it is on its way; urgent ones overtake the others. */
  tile(level, r, c, isUrgent = true) {
    const key = `${level}/${r}/${c}`, found = this.tiles.get(key);
    if (found) {
      this.tiles.delete(key);
      this.tiles.set(key, found);
      return found;
    }
    if (this.address) { this.ask(key, level, r, c, isUrgent); return undefined; }
    const made = this.reduced(level, r, c);
    this.tiles.set(key, made);
    return made;
  }

  ask(key, level, r, c, isUrgent) {
    const known = this.asked.get(key);
    if (known) {
      if (isUrgent && !known.isUrgent) { known.isUrgent = true; this.waiting.splice(this.waiting.indexOf(known), 1); this.waiting.unshift(known); }
      return;
    }
    const wanted = { key, level, r, c, isUrgent };
    this.asked.set(key, wanted);
    if (isUrgent) this.waiting.unshift(wanted); else this.waiting.push(wanted);
    this.next();
  }

  next() {
    while (this.running < AT_ONCE && this.waiting.length) {
      const wanted = this.waiting.shift();
      wanted.isUrgent = true;
      this.running += 1;
      this.fetch(wanted).finally(() => { this.running -= 1; this.next(); });
    }
  }

  async fetch({ key, level, r, c }) {
    const [most, widest] = this.size(level);
    const rows = [r * TILE, Math.min(most, (r + 1) * TILE)], columns = [c * TILE, Math.min(widest, (c + 1) * TILE)];
    try {
      const found = await fetchTile(this.address, rows, columns, level);
      this.tiles.set(key, found);
      while (this.tiles.size > MOST_TILES) this.tiles.delete(this.tiles.keys().next().value);
    } catch (error) {
      this.problem = error.message;
    }
    this.asked.delete(key);
    this.onTile(level, r, c);
  }

  /** A tile of a higher level from the four beneath it. */
  reduced(level, r, c) {
    const [allRows, allColumns] = this.size(level), below = this.size(level - 1);
    const rows = Math.min(TILE, allRows - r * TILE), columns = Math.min(TILE, allColumns - c * TILE);
    const values = new Float32Array(rows * columns);
    for (let i = 0; i < Math.min(2 * rows, below[0] - 2 * r * TILE); i += 1) {
      for (let j = 0; j < Math.min(2 * columns, below[1] - 2 * c * TILE); j += 1) {
        const from = this.tile(level - 1, 2 * r + (i >= TILE), 2 * c + (j >= TILE));
        const value = from.values[(i % TILE) * from.columns + (j % TILE)], place = (i >> 1) * columns + (j >> 1);
        if (Math.abs(value) > Math.abs(values[place])) values[place] = value;
      }
    }
    return { rows, columns, values };
  }

  /** Formula 4: for each output token, the sum over the rows first…last; what is not here yet counts as 0 and is asked for. */
  sumRows(first, last) {
    const sums = new Float32Array(this.columns);
    let isWhole = true;
    this.overTiles(first, last, 0, this.columns - 1, (tile, top, left) => {
      if (!tile) { isWhole = false; return; }
      const to = Math.min(last - top, tile.rows - 1);
      for (let i = Math.max(0, first - top); i <= to; i += 1) {
        for (let j = 0, place = i * tile.columns; j < tile.columns; j += 1, place += 1) sums[left + j] += tile.values[place];
      }
    });
    return { sums, isWhole };
  }

  /** Formula 5: for each input token, the sum over the columns first…last. */
  sumColumns(first, last) {
    const sums = new Float32Array(this.rows);
    let isWhole = true;
    this.overTiles(0, this.rows - 1, first, last, (tile, top, left) => {
      if (!tile) { isWhole = false; return; }
      const from = Math.max(0, first - left), to = Math.min(last - left, tile.columns - 1);
      for (let i = 0; i < tile.rows; i += 1) {
        let sum = 0;
        for (let place = i * tile.columns + from, end = i * tile.columns + to; place <= end; place += 1) sum += tile.values[place];
        sums[top + i] += sum;
      }
    });
    return { sums, isWhole };
  }

  overTiles(top, bottom, left, right, work) {
    for (let r = Math.floor(top / TILE); r * TILE <= bottom; r += 1) {
      for (let c = Math.floor(left / TILE); c * TILE <= right; c += 1) work(this.tile(0, r, c), r * TILE, c * TILE);
    }
  }

  /** Asks for the coarsest level, which is all that a first picture needs. */
  askWhole() {
    this.eachTile(this.top, (r, c) => this.tile(this.top, r, c));
  }

  /** One value, where it is here. */
  at(row, column) {
    const tile = this.tiles.get(`0/${Math.floor(row / TILE)}/${Math.floor(column / TILE)}`);
    return tile ? tile.values[(row % TILE) * tile.columns + (column % TILE)] : null;
  }

  /** Share of the finest level that is here. */
  loaded() {
    let here = 0, all = 0;
    this.eachTile(0, (r, c) => { all += 1; here += this.tiles.has(`0/${r}/${c}`); });
    return all ? here / all : 1;
  }

  /** Asks for everything of the finest level in idle time, as far as it can be kept. */
  loadRest() {
    if (!this.address) return;
    const keys = [];
    this.eachTile(0, (r, c) => keys.push([r, c]));
    const more = (deadline) => {
      while (keys.length && deadline.timeRemaining() > 1 && this.waiting.length < AT_ONCE && this.tiles.size < MOST_TILES / 2) this.tile(0, ...keys.shift(), false);
      if (keys.length && this.tiles.size < MOST_TILES / 2 && !this.problem) requestIdleCallback(more);
    };
    requestIdleCallback(more);
  }
}
