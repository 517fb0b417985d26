// Search in the local vocabulary: a combobox as the ARIA practices describe it, and a chip for each concept chosen.

import { ask } from "./requests.js";

const PAUSE_MS = 120;

export class Concepts {
  constructor(fieldset, codebook, changed) {
    Object.assign(this, { fieldset, codebook, changed });
    this.key = fieldset.dataset.key;
    this.chips = fieldset.querySelector(".chips");
    this.input = fieldset.querySelector('[role="combobox"]');
    this.list = fieldset.querySelector('[role="listbox"]');
    this.words = fieldset.querySelector(`[name="${this.key}.words"]`);
    this.none = fieldset.querySelector(`[name="${this.key}.none"]`);
    this.found = [];
    this.at = -1;
    fieldset.querySelector(".combo").hidden = false;
    for (const chip of this.chips.children) this.addRemove(chip);
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("keydown", (event) => this.pressed(event));
    this.input.addEventListener("blur", () => setTimeout(() => this.close(), 150));
  }

  get codes() {
    return [...this.chips.children].map((chip) => chip.dataset.code);
  }

  get answer() {
    const words = this.words.value.trim(), codes = this.codes;
    return codes.length || words || this.none.checked ? { codes, words } : null;
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.search(), PAUSE_MS);
  }

  async search() {
    const query = this.input.value.trim();
    if (!query) return this.close();
    try {
      const answer = await ask("GET", `/api/v1/codebooks/${this.codebook}/concepts?query=${encodeURIComponent(query)}`);
      if (query === this.input.value.trim()) this.show(answer.concepts.filter((concept) => !this.codes.includes(concept.code)));
    } catch (error) {
      this.input.setAttribute("aria-description", error.message);
      this.close();
    }
  }

  show(found) {
    this.found = found;
    this.list.replaceChildren(...found.map((concept, place) => this.option(concept, place)));
    this.list.hidden = found.length === 0;
    this.input.setAttribute("aria-expanded", String(found.length > 0));
    this.mark(found.length ? 0 : -1);
  }

  option(concept, place) {
    const option = document.createElement("li"), where = document.createElement("small");
    option.role = "option";
    option.id = `${this.list.id}-${place}`;
    option.textContent = concept.name;
    where.textContent = concept.parent;
    option.append(where);
    option.addEventListener("pointerdown", (event) => { event.preventDefault(); this.choose(place); });
    return option;
  }

  mark(place) {
    this.at = place;
    [...this.list.children].forEach((option, other) => option.setAttribute("aria-selected", String(other === place)));
    if (place >= 0) {
      this.input.setAttribute("aria-activedescendant", this.list.children[place].id);
      this.list.children[place].scrollIntoView({ block: "nearest" });
    } else {
      this.input.removeAttribute("aria-activedescendant");
    }
  }

  pressed(event) {
    if (event.key === "Backspace" && !this.input.value && this.chips.lastElementChild) {
      this.chips.lastElementChild.remove();
      this.changed();
    }
    if (this.list.hidden) {
      if (event.key === "Enter" && !event.ctrlKey && this.input.value) event.preventDefault();
      return;
    }
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) this.mark((this.at + moves[event.key] + this.found.length) % this.found.length);
    else if (event.key === "Enter" && !event.ctrlKey) this.choose(this.at);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  choose(place) {
    const concept = this.found[place], chip = document.createElement("li"), name = document.createElement("span"), field = document.createElement("input");
    chip.dataset.code = concept.code;
    name.textContent = concept.name;
    field.type = "hidden";
    field.name = `${this.key}.codes`;
    field.value = concept.code;
    chip.append(name, field);
    this.addRemove(chip);
    this.chips.append(chip);
    this.none.checked = false;
    this.input.value = "";
    this.close();
    this.changed();
  }

  addRemove(chip) {
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Take away ${chip.textContent.trim()}`);
    remove.addEventListener("click", () => { chip.remove(); this.input.focus(); this.changed(); });
    chip.append(remove);
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.mark(-1);
  }
}
