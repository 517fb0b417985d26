// A new job: what it would be made of is shown before it is sent, its tokens above all.

import { byId, make, say, visible, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { settingsForm } from "./settings_form.js";
import { keepTemplate, templates } from "./templates.js";

const form = byId("job"), text = form.elements.text;
const followed = new URLSearchParams(location.search).get("follow_up_of");
const PREVIEW_WAIT_MS = 250, MOST_PREVIEWED = 1500;
let models = [], methods = [], usual = null, settings = null, waiting = null, asked = 0;

function problem(words) {
  byId("problem").textContent = words;
  byId("problem").hidden = !words;
}

const chosen = (name) => [...form.querySelectorAll(`#${name} input:checked`)].map((box) => box.value);

function box(one, kind, remarks, isChecked) {
  const id = `${kind}-${one.name}`;
  return make("div", { class: "choice" },
    make("label", { class: "check" }, make("input", { type: "checkbox", value: one.name, checked: isChecked, "aria-describedby": `${id}-more` }), make("b", {}, words(one.name))),
    make("small", { id: `${id}-more` }, remarks));
}

/** What is known of a model, in words. */
function facts(model) {
  if (model.problem) return model.problem;
  const known = [["kind", ""], ["n_layers", " layers"], ["n_context_tokens", " tokens of context"], ["dtype", ""]];
  const parts = known.filter(([key]) => model[key]).map(([key, unit]) => `${model[key].toLocaleString("en")}${unit}`);
  return [...parts, model.is_run ? "this run’s, whose features can be explained" : "no features", model.has_chat_template ? "reads dialogues by its template" : ""].filter(Boolean).join(", ");
}

/** The chosen models that a method does not work on, with the reason. */
function misfits(method) {
  return chosen("models").filter((name) => method.models[name]?.is_supported === false).map((name) => `not for ${name}: ${method.models[name].reason}`);
}

function showMethods() {
  const were = new Set(chosen("methods"));
  const list = methods.map((one) => {
    const lacking = misfits(one), node = box(one, "method", "", were.has(one.name) || (!were.size && one.name === usual));
    node.querySelector("small").append(...[
      ...lacking.map((why) => make("span", { class: "misfit" }, why)),
      !lacking.length && chosen("models").length ? make("span", { class: "tag good" }, "fits") : null,
      ` ${one.description} `, make("em", {}, one.caveat),
    ].filter(Boolean));
    return node;
  });
  form.querySelector("#methods .options-list").replaceChildren(...list);
  settings = settingsForm(byId("settings"), methods.filter((one) => chosen("methods").includes(one.name)), settings?.values() ?? {});
  count();
}

function count() {
  const n = chosen("models").length, k = chosen("methods").length;
  say("combinations", n && k ? `${n} model${n === 1 ? "" : "s"} × ${k} method${k === 1 ? "" : "s"}: ${n * k} result${n * k === 1 ? "" : "s"}` : "Choose a model and a method.");
}

/** Shows the tokens as the model reads them, after a pause in typing; an answer that was overtaken is thrown away. */
async function preview() {
  const number = asked += 1, model = byId("preview-model").value;
  if (!model || !text.value) { byId("preview").replaceChildren(); say("count", ""); return; }
  try {
    const found = await jobs.tokens(model, text.value);
    if (number !== asked) return;
    const { tokens, is_special: special = [], n_tokens: n, n_context_tokens: most } = found;
    byId("preview").replaceChildren(...tokens.slice(0, MOST_PREVIEWED).map((token, i) => make("span", { class: special[i] ? "special" : null }, visible(token))), tokens.length > MOST_PREVIEWED ? ` … and ${tokens.length - MOST_PREVIEWED} more` : "");
    say("count", `${n} tokens${most ? ` of ${most} that ${model} reads` : ""}${most && n > most ? ": too long for it: give a window under Options, or shorten the text" : ""}`);
    byId("count").classList.toggle("too-long", Boolean(most && n > most));
  } catch (error) {
    if (number === asked) say("count", error.message);
  }
}

function later() {
  clearTimeout(waiting);
  waiting = setTimeout(preview, PREVIEW_WAIT_MS);
}

function target() {
  const kind = form.elements.kind.value, value = form.elements[kind]?.value;
  if (kind === "same") return {};
  if (kind === "generate") return { generate: Number(value) || 16 };
  const found = kind === "features" ? { features: value.split(",").map((one) => one.trim()).filter(Boolean) } : { [kind]: value };
  if (form.elements.contrast.value && kind !== "features") found.contrast = form.elements.contrast.value;
  if (kind !== "features") found.measure = form.elements.measure.value;
  return found;
}

function job() {
  return {
    models: chosen("models"),
    methods: chosen("methods"),
    title: form.elements.title.value.trim(),
    input: { ...(followed ? { turns: [{ role: "user", text: text.value }] } : { text: text.value }), ...target() },
    options: { ...options(), ...(followed ? { follow_up_of: followed } : {}) },
  };
}

function options() {
  const window = Number(form.elements.window.value);
  return { seed: Number(form.elements.seed.value), priority: Number(form.elements.priority.value), settings: settings?.values() ?? {}, ...(window ? { window } : {}) };
}

/** Why it cannot be sent yet; empty if it can. */
function lacking(made) {
  if (!made.models.length) return "No model is chosen, expected one or more. Choose one.";
  if (!made.methods.length) return "No method is chosen, expected one or more. Choose one.";
  if (!text.value.trim()) return "The text is empty, expected what the model is to read. Write it.";
  const kind = form.elements.kind.value;
  return !["generate", "same"].includes(kind) && !form.elements[kind].value ? "What is explained is empty, expected a token, a continuation, a class or features. Write it." : "";
}

let isSent = false;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const made = job(), why = lacking(made);
  problem(why);
  if (why || isSent) return;
  isSent = true;
  try {
    const { job_id: id } = await jobs.create(made);
    location.assign(`/desk/jobs/${encodeURIComponent(id)}`);
  } catch (error) {
    isSent = false;
    problem(error.message);
  }
});
form.addEventListener("change", (event) => {
  if (event.target.closest("#models")) showMethods();
  else if (event.target.closest("#methods")) showMethods();
});
text.addEventListener("input", later);
byId("preview-model").addEventListener("change", preview);
for (const input of form.querySelectorAll(".target input:not([type=radio])")) input.addEventListener("focus", () => { form.querySelector(`[name="kind"][value="${input.name}"]`).checked = true; });

/** The turns so far, where it goes on from another job. */
async function showTurns() {
  const found = await jobs.results(followed), { text: whole, turns: parts = [] } = found.input;
  const said = parts.length ? parts.filter((one) => one.start >= 0).map((one) => ({ role: one.role, text: whole.slice(one.start, one.end) })) : [{ role: "user", text: whole }];
  const turn = (role, words) => make("li", { class: role }, make("b", {}, role), " ", words);
  byId("turns").replaceChildren(...said.map((one) => turn(one.role, one.text)), ...found.results.slice(0, 1).map((one) => turn("assistant", one.output.text)));
  byId("earlier").hidden = false;
  byId("text-label").textContent = "Next question";
  const answered = new Set(found.results.map((one) => one.model));
  for (const input of form.querySelectorAll("#models input")) input.checked = answered.has(input.value);
  showMethods();
  byId("same").hidden = false;
  form.querySelector('[name="kind"][value="same"]').checked = true;
}

/** What a link to this form asks for: features, methods, a title. Never a text: addresses are kept in histories. */
function prefill(given) {
  if (given.get("title")) form.elements.title.value = given.get("title");
  if (given.get("features")) {
    form.elements.features.value = given.get("features");
    form.querySelector('[name="kind"][value="features"]').checked = true;
  }
  if (given.get("methods")) {
    const wanted = given.get("methods").split(",");
    for (const input of form.querySelectorAll("#methods input")) input.checked = wanted.includes(input.value);
    showMethods();
  }
}

async function begin() {
  const [allModels, allMethods] = await Promise.all([jobs.models(), jobs.methods()]);
  models = allModels.models;
  methods = allMethods.methods;
  usual = allMethods.default;
  form.querySelector("#models .options-list").replaceChildren(...models.map((one, place) => box(one, "model", facts(one), place === 0)));
  byId("preview-model").replaceChildren(...models.map((one) => make("option", {}, one.name)));
  showMethods();
  templates(byId("template"), (one) => {
    for (const input of form.querySelectorAll("#models input")) input.checked = one.models.includes(input.value);
    showMethods();
    for (const input of form.querySelectorAll("#methods input")) input.checked = one.methods.includes(input.value);
    form.elements.seed.value = one.options.seed;
    form.elements.priority.value = one.options.priority;
    form.elements.window.value = one.options.window ?? "";
    settings = settingsForm(byId("settings"), methods.filter((m) => one.methods.includes(m.name)), one.options.settings);
    count();
  }, byId("drop-template"));
  byId("keep-template").addEventListener("click", () => keepTemplate(byId("template"), { models: chosen("models"), methods: chosen("methods"), options: options() }));
  prefill(new URLSearchParams(location.search));
  if (followed) await showTurns();
  preview();
}

begin().catch((error) => problem(error.message));
