// Tokens of the evidence: their values on hover and focus, and passages cited by mouse or keyboard.
// Each context is a listbox whose options are its tokens, so that arrow keys and screen readers move through it.

const joined = (tokens, { start, end }) => tokens.slice(start, end).map((token) => token.textContent).join("").trim();

export class Evidence {
  constructor(root, { chips = null, field = null, changed = () => {} }) {
    Object.assign(this, { root, chips, field, changed });
    this.status = document.getElementById("token-status");
    this.contexts = new Map();
    this.spans = field ? JSON.parse(field.value || "[]") : [];
    for (const line of root.querySelectorAll(".tokens")) this.prepare(line);
    this.show();
  }

  prepare(line) {
    const tokens = [...line.children], number = Number(line.dataset.context);
    const context = { line, tokens, number, at: Math.max(0, tokens.findIndex((token) => token.classList.contains("peak"))), anchor: null };
    this.contexts.set(number, context);
    line.setAttribute("role", "listbox");
    line.setAttribute("aria-multiselectable", "true");
    line.tabIndex = 0;
    tokens.forEach((token, place) => {
      token.setAttribute("role", "option");
      token.setAttribute("aria-selected", "false");
      token.id = `token-${number}-${place}`;
      if (token.dataset.value) token.setAttribute("aria-label", `${token.textContent} ${token.dataset.value}`);
      token.removeAttribute("title");
    });
    line.addEventListener("focus", () => this.move(context, context.at, false));
    line.addEventListener("blur", () => this.leave(context));
    line.addEventListener("keydown", (event) => this.pressed(context, event));
    line.addEventListener("pointerover", (event) => { const place = tokens.indexOf(event.target); if (place >= 0) this.tell(tokens[place]); });
    line.addEventListener("pointerout", () => { this.status.textContent = ""; });
    line.addEventListener("pointerdown", (event) => this.begin(context, event));
  }

  tell(token) {
    const value = token.dataset.value;
    this.status.textContent = value ? `“${token.textContent.trim()}” ${value}` : "";
  }

  begin(context, event) {
    const place = context.tokens.indexOf(event.target);
    if (place < 0 || event.button !== 0 || !this.field) return;
    event.preventDefault();
    context.line.focus();
    context.anchor = place;
    this.move(context, place, true);
    const over = (moved) => {
      const other = context.tokens.indexOf(document.elementFromPoint(moved.clientX, moved.clientY));
      if (other >= 0) this.move(context, other, true);
    };
    document.addEventListener("pointermove", over);
    document.addEventListener("pointerup", () => {
      document.removeEventListener("pointermove", over);
      this.cite(context);
    }, { once: true });
  }

  move(context, place, isSelecting) {
    if (isSelecting && context.anchor === null) context.anchor = context.at;
    if (!isSelecting) context.anchor = null;
    context.at = Math.max(0, Math.min(context.tokens.length - 1, place));
    const { start, end } = this.selection(context);
    context.tokens.forEach((token, other) => {
      token.classList.toggle("at", other === context.at);
      token.classList.toggle("picked", isSelecting && other >= start && other < end);
    });
    context.line.setAttribute("aria-activedescendant", context.tokens[context.at].id);
    context.tokens[context.at].scrollIntoView({ block: "nearest" });
    this.tell(context.tokens[context.at]);
  }

  selection(context) {
    const anchor = context.anchor ?? context.at;
    return { start: Math.min(anchor, context.at), end: Math.max(anchor, context.at) + 1 };
  }

  leave(context) {
    context.anchor = null;
    for (const token of context.tokens) token.classList.remove("at", "picked");
    this.status.textContent = "";
  }

  pressed(context, event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -context.tokens.length, End: context.tokens.length };
    if (event.key in steps) this.move(context, context.at + steps[event.key], event.shiftKey);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.neighbour(context, event.key === "ArrowDown" ? 1 : -1);
    else if ((event.key === "Enter" && !event.ctrlKey) || event.key === " ") this.cite(context);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  neighbour(context, step) {
    const all = [...this.contexts.values()], other = all[all.indexOf(context) + step];
    if (other) other.line.focus();
  }

  /** Cites what is selected; the same passage once more takes it away. */
  cite(context) {
    if (!this.field) return;
    const span = { context: context.number, ...this.selection(context) };
    const isSame = (other) => other.context === span.context && other.start === span.start && other.end === span.end;
    this.spans = this.spans.some(isSame) ? this.spans.filter((other) => !isSame(other)) : [...this.spans, span];
    context.anchor = null;
    for (const token of context.tokens) token.classList.remove("picked");
    this.show();
    this.changed();
  }

  set(spans) {
    this.spans = spans;
    this.show();
  }

  show() {
    if (!this.field) return;
    this.field.value = JSON.stringify(this.spans);
    for (const { tokens, number } of this.contexts.values())
      tokens.forEach((token, place) => {
        const isCited = this.spans.some((span) => span.context === number && place >= span.start && place < span.end);
        token.classList.toggle("cited", isCited);
        token.setAttribute("aria-selected", String(isCited));
      });
    this.chips.replaceChildren(...this.spans.map((span) => this.chip(span)));
  }

  chip(span) {
    const chip = document.createElement("li"), quote = document.createElement("q"), remove = document.createElement("button");
    const context = this.contexts.get(span.context);
    quote.textContent = context ? joined(context.tokens, span) : "…";
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Take away the passage ${quote.textContent}`);
    remove.addEventListener("click", () => {
      this.spans = this.spans.filter((other) => other !== span);
      this.show();
      this.changed();
    });
    chip.append(quote, remove);
    return chip;
  }
}
