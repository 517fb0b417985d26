// Tokens of a text, each on the colour of its scores. A list box: one stop for Tab, arrows within; hover, click and drag by pointer.

import { blended, isDark } from "./colours.js";
import { make, perFrame, visible } from "./elements.js";

const LEAST_RUN = 40, MOST_RUN = 120, LAZY_FROM = 600, MARGIN = 40;
let strips = 0;

export class TokenStrip {
  /**
   * place: the element that becomes the list box.
   * onFocus(first, last, isKept): the tokens that are looked at; nulls when none is. isKept: clicked, dragged or chosen by keyboard.
   */
  constructor(place, tokens, { label, isSpecial = [], onFocus = () => {} }) {
    Object.assign(this, { place, tokens, onFocus, label, at: -1, kept: null, dragFrom: null });
    this.prefix = `t${strips++}-`;
    this.painted = new Int32Array(tokens.length).fill(-1);
    this.marks = new Uint8Array(tokens.length);
    this.nodes = tokens.map((text, index) => this.token(text, index, isSpecial[index]));
    place.replaceChildren(...runs(tokens).map(([from, to]) => make("div", { class: "run", role: "presentation" }, this.nodes.slice(from, to))));
    for (const [name, value] of Object.entries({ role: "listbox", tabindex: "0", "aria-label": label })) place.setAttribute(name, value);
    place.classList.add("strip");
    place.classList.toggle("lazy", tokens.length > LAZY_FROM);
    this.listen();
  }

  token(text, index, isSpecial) {
    const node = make("span", { role: "option", id: this.prefix + index, "aria-selected": "false", class: isSpecial ? "special" : null }, visible(text));
    node.place = index;
    return node;
  }

  listen() {
    const { place } = this;
    place.addEventListener("pointerover", (event) => this.over(event.target.place));
    place.addEventListener("pointerleave", () => { this.dragFrom = null; this.release(); });
    place.addEventListener("pointerdown", (event) => { this.dragFrom = event.target.place ?? null; });
    place.addEventListener("pointerup", (event) => this.picked(event.target.place));
    place.addEventListener("keydown", (event) => this.pressed(event));
    place.addEventListener("scroll", perFrame(() => this.viewMoved()), { passive: true });
    this.resized?.disconnect();
    this.resized = new ResizeObserver(perFrame(() => this.viewMoved()));
    this.resized.observe(place);
    place.addEventListener("blur", () => place.removeAttribute("aria-activedescendant"));
  }

  over(index) {
    if (index === undefined) return;
    if (this.dragFrom !== null && this.dragFrom !== index) this.onFocus(Math.min(this.dragFrom, index), Math.max(this.dragFrom, index), false);
    else if (!this.kept) this.onFocus(index, index, false);
  }

  /** Nothing is pointed at any more: back to what was kept, if anything. */
  release() {
    if (this.kept) this.onFocus(...this.kept, true);
    else this.onFocus(null, null, false);
  }

  picked(index) {
    const from = this.dragFrom;
    this.dragFrom = null;
    if (index === undefined || from === null) return;
    const [first, last] = [Math.min(from, index), Math.max(from, index)];
    const isSame = this.kept && this.kept[0] === first && this.kept[1] === last;
    this.keep(isSame ? null : [first, last]);
    this.at = index;
  }

  keep(range) {
    this.kept = range;
    if (range) this.onFocus(...range, true);
    else this.onFocus(null, null, false);
  }

  /** Forgets what was kept, without telling. */
  forget() {
    this.kept = null;
    for (const node of this.place.querySelectorAll('[aria-selected="true"]')) node.setAttribute("aria-selected", "false");
  }

  pressed(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.line(1), ArrowUp: this.line(-1), Home: -this.tokens.length, End: this.tokens.length, PageDown: 20, PageUp: -20 };
    if (event.key === "Escape") { event.preventDefault(); this.keep(null); return; }
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = Math.min(this.tokens.length - 1, Math.max(0, this.at + steps[event.key]));
    const from = event.shiftKey && this.kept ? (this.kept[0] === this.at ? this.kept[1] : this.kept[0]) : next;
    this.go(next);
    this.keep([Math.min(from, next), Math.max(from, next)]);
  }

  go(index) {
    this.nodes[this.at]?.setAttribute("aria-selected", "false");
    this.at = index;
    this.nodes[index].setAttribute("aria-selected", "true");
    this.nodes[index].scrollIntoView({ block: "nearest" });
    this.place.setAttribute("aria-activedescendant", this.prefix + index);
  }

  /** How many tokens lie between here and the place above or below it. */
  line(way) {
    const here = this.nodes[Math.max(0, this.at)], box = here.getBoundingClientRect();
    for (let index = Math.max(0, this.at) + way; this.nodes[index]; index += way) {
      const other = this.nodes[index].getBoundingClientRect();
      const isBeyond = way > 0 ? other.top > box.top + 4 && other.left >= box.left - 8 : other.top < box.top - 4 && other.left <= box.left + 8;
      if (isBeyond) return index - Math.max(0, this.at);
    }
    return way * this.tokens.length;
  }

  /**
   * Colours the tokens. layers: [{rgb, intensities, values}]; a negative value (of any layer) is marked below its token.
   * Only what is in view and has changed is touched, which is what makes hovering fast; the rest follows when it is scrolled to.
   */
  paint(layers) {
    this.layers = layers;
    const inks = layers.map(({ rgb }) => [rgb, 0]), colour = [255, 255, 255];
    this.view ??= this.inView();
    for (let index = this.view[0]; index < this.view[1]; index += 1) {
      let isNegative = false;
      for (let i = 0; i < layers.length; i += 1) {
        inks[i][1] = layers[i].intensities[index] ?? 0;
        isNegative ||= layers[i].values[index] < 0 && inks[i][1] > 0.02;
      }
      blended(inks, colour);
      const key = (colour[0] << 16) | (colour[1] << 8) | colour[2] | (isNegative << 24);
      if (this.painted[index] === key) continue;
      const node = this.nodes[index];
      node.style.backgroundColor = (key & 0xffffff) === 0xffffff ? "" : `rgb(${colour[0]} ${colour[1]} ${colour[2]})`;
      if (((this.painted[index] >> 24) & 1) !== +isNegative || this.painted[index] < 0) node.classList.toggle("negative", isNegative);
      node.classList.toggle("on-dark", isDark(colour));
      this.painted[index] = key;
    }
  }

  /** The runs that can be seen now, as first and last token; the next ones with them, so that scrolling finds them coloured. */
  inView() {
    const { scrollTop: top, clientHeight: height } = this.place, runs = [...this.place.children];
    if (!height || !this.place.isConnected) return [0, this.nodes.length];
    const seen = runs.filter((run) => run.offsetTop < top + height + MARGIN && run.offsetTop + run.offsetHeight > top - MARGIN);
    return seen.length ? [seen[0].firstChild.place, seen.at(-1).lastChild.place + 1] : [0, this.nodes.length];
  }

  /** What is in view has changed. */
  viewMoved() {
    this.view = null;
    if (this.layers) this.paint(this.layers);
  }

  /** Frames the tokens first…last, and no others. */
  frame(first = null, last = null) {
    for (let index = 0; index < this.nodes.length; index += 1) {
      const wanted = first !== null && index >= first && index <= last ? 1 : 0;
      if (this.marks[index] !== wanted) { this.marks[index] = wanted; this.nodes[index].classList.toggle("framed", Boolean(wanted)); }
    }
  }

  /** Gives every token a class of its own, or none: categories, turns. */
  tag(classOf) {
    this.nodes.forEach((node, index) => {
      const wanted = classOf(index);
      if (node.tagged && node.tagged !== wanted) node.classList.remove(...node.tagged.split(" "));
      if (wanted && node.tagged !== wanted) node.classList.add(...wanted.split(" "));
      node.tagged = wanted;
    });
  }
}

/** Stretches of tokens that the browser may lay out when they come into view: they end at a line's or a sentence's end. */
function runs(tokens) {
  const found = [];
  let from = 0;
  for (let index = 0; index < tokens.length; index += 1) {
    const length = index + 1 - from, ends = /\n/.test(tokens[index]) || (length > LEAST_RUN && /[.;]\s*$/.test(tokens[index]));
    if ((length >= LEAST_RUN && ends) || length >= MOST_RUN) { found.push([from, index + 1]); from = index + 1; }
  }
  if (from < tokens.length) found.push([from, tokens.length]);
  return found;
}
