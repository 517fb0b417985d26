// Choices of models, methods and options that one comes back to, kept in this browser. Never a text.

import { make } from "./elements.js";

const NAME = "clinlens-job-templates";

function stored() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

function store(all, list) {
  localStorage.setItem(NAME, JSON.stringify(all));
  const names = Object.keys(all).map((name) => make("option", { value: name }, name));
  list.replaceChildren(make("option", { value: "" }, "none"), ...names);
}

/** Fills the list; choosing one applies it. */
export function templates(list, apply, drop) {
  store(stored(), list);
  list.addEventListener("change", () => {
    drop.disabled = !list.value;
    if (list.value) apply(stored()[list.value]);
  });
  drop.addEventListener("click", () => {
    const all = stored();
    delete all[list.value];
    store(all, list);
    drop.disabled = true;
  });
}

/** Keeps one under the names of what it holds. */
export function keepTemplate(list, template) {
  const name = `${template.models.join(" + ")}: ${template.methods.join(" + ")}`;
  store({ ...stored(), [name]: template }, list);
  list.value = name;
  list.dispatchEvent(new Event("change"));
}
