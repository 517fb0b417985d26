// Single-key shortcuts: can be changed and switched off (WCAG 2.1.4), and never act while one types.

const NAME = "clinlens-keys";
const TYPED = 'textarea, select, input:not([type="radio"], [type="checkbox"], [type="hidden"])';

export class Keys {
  constructor(actions) {
    this.actions = actions;
    this.stored = { isOn: true, keys: {} };
    try {
      Object.assign(this.stored, JSON.parse(localStorage.getItem(NAME)) ?? {});
    } catch { /* what cannot be read is as if it were not there */ }
    document.addEventListener("keydown", (event) => this.pressed(event));
    this.show();
  }

  keyOf(name) {
    return this.stored.keys[name] ?? this.actions[name].key;
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog:modal")) return;
    if (!this.stored.isOn || event.target.matches(TYPED)) return;
    if (/^[0-9]$/.test(event.key)) {
      if (this.onDigit(Number(event.key))) event.preventDefault();
      return;
    }
    const name = Object.keys(this.actions).find((one) => this.keyOf(one) === event.key);
    if (name) {
      event.preventDefault();
      this.actions[name].run();
    }
  }

  onDigit() { return false; }

  store() {
    localStorage.setItem(NAME, JSON.stringify(this.stored));
    this.show();
  }

  /** Fills the table in the help, and the hints on the buttons. */
  show() {
    document.body.classList.toggle("no-keys", !this.stored.isOn);
    const list = document.getElementById("key-list"), toggle = document.getElementById("keys-on");
    toggle.checked = this.stored.isOn;
    toggle.onchange = () => { this.stored.isOn = toggle.checked; this.store(); };
    document.getElementById("keys-reset").onclick = () => { this.stored = { isOn: true, keys: {} }; this.store(); };
    list.replaceChildren(...Object.entries(this.actions).map(([name, action]) => this.row(name, action)));
    for (const [name, action] of Object.entries(this.actions)) {
      const hint = action.button && document.querySelector(`${action.button} kbd`);
      if (hint) hint.textContent = this.keyOf(name);
    }
  }

  row(name, action) {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td"), input = document.createElement("input");
    head.scope = "row";
    head.textContent = action.text;
    input.value = this.keyOf(name);
    input.maxLength = 1;
    input.setAttribute("aria-label", `Key for: ${action.text}`);
    input.addEventListener("change", () => {
      const isFree = input.value && !/[0-9 ]/.test(input.value) && Object.keys(this.actions).every((other) => other === name || this.keyOf(other) !== input.value);
      if (isFree) this.stored.keys[name] = input.value;
      this.store();
    });
    cell.append(input);
    row.append(head, cell);
    return row;
  }
}
