// The rating form: answers by mouse or keys, drafts, submitting. All of it also works, slowly, without this file.

import { Clock } from "./clock.js";
import { Concepts } from "./concepts.js";
import { Drafts } from "./drafts.js";
import { Evidence } from "./evidence.js";
import { Keys } from "./keys.js";
import { ask, newKey } from "./requests.js";

const byId = (id) => document.getElementById(id);
const task = JSON.parse(byId("task-data").textContent);
const form = byId("rating"), problem = byId("problem"), saved = byId("saved");
const questions = [...form.querySelectorAll(".question")];
const clock = new Clock();
let current = null;
let isBusy = false;
let submitKey = newKey();

const changed = () => { submitKey = newKey(); drafts.changed(); };
const rationale = questions.find((question) => question.dataset.kind === "rationale");
const concepts = new Map(questions.filter((question) => question.dataset.kind === "concepts")
  .map((question) => [question.dataset.key, new Concepts(question, task.codebook, changed)]));
const evidence = new Evidence(byId("evidence"), {
  chips: rationale?.querySelector(".spans"),
  field: rationale && form.elements[`${rationale.dataset.key}.spans`],
  changed,
});
const drafts = new Drafts(task, read, (text, isLost) => {
  saved.textContent = text;
  saved.classList.toggle("lost", isLost);
});

/** The answer to one question, or null. */
function answer(question) {
  const { key, kind } = question.dataset;
  if (kind === "choice" || kind === "scale") return form.elements[key].value || null;
  if (kind === "concepts") return concepts.get(key).answer;
  if (kind === "text") return form.elements[key].value.trim() || null;
  const text = form.elements[`${key}.text`].value.trim();
  return text || evidence.spans.length ? { text, spans: evidence.spans } : null;
}

function read() {
  return Object.fromEntries(questions.map((question) => [question.dataset.key, answer(question)]).filter(([, found]) => found !== null));
}

/** Puts answers that this browser kept back into the form. */
function restore(answers) {
  for (const question of questions) {
    const { key, kind } = question.dataset, found = answers[key];
    if (found === undefined) continue;
    if (kind === "choice" || kind === "scale") form.elements[key].value = found;
    else if (kind === "text") form.elements[key].value = found;
    else if (kind === "rationale") {
      form.elements[`${key}.text`].value = found.text;
      evidence.set(found.spans);
    } else {
      concepts.get(key).words.value = found.words;
      concepts.get(key).none.checked = !found.codes.length && !found.words;
      for (const code of found.codes) {
        if (concepts.get(key).codes.includes(code)) continue;
        concepts.get(key).found = [{ code, name: task.names[code] ?? code }];
        concepts.get(key).choose(0);
      }
    }
  }
}

const first = (question) => question.querySelector('input:checked, input:not([type="hidden"]), textarea');

function go(question, isFocusing = true) {
  current?.classList.remove("current");
  current = question;
  if (!question) return;
  question.classList.add("current");
  if (isFocusing) first(question)?.focus();
  question.scrollIntoView({ block: "nearest" });
}

/** Answers the current question by its number, and goes on to the next one without an answer. */
function choose(digit) {
  if (!current || !["choice", "scale"].includes(current.dataset.kind)) return false;
  const options = [...current.querySelectorAll('input[type="radio"]')];
  const wanted = digit === 0 ? options.find((option) => option.value === "cannot_judge") : options[digit - 1];
  if (!wanted || (digit > 0 && wanted.value === "cannot_judge")) return false;
  wanted.checked = true;
  wanted.focus();
  changed();
  const later = questions.slice(questions.indexOf(current) + 1), open = later.find((question) => answer(question) === null);
  go(open ?? current, Boolean(open));
  return true;
}

function say(text) {
  problem.textContent = text;
  problem.hidden = !text;
  if (text) problem.scrollIntoView({ block: "nearest" });
}

/** Runs one request at a time, and shows why it failed. */
async function busy(work) {
  if (isBusy) return;
  isBusy = true;
  byId("submit").disabled = true;
  try {
    say("");
    await work();
  } catch (error) {
    if (error.status === 0) drafts.failed(error, read());
    say(error.status === 401 ? "You were signed out. Sign in in another tab, then submit again: your draft is kept." : error.message);
  } finally {
    isBusy = false;
    byId("submit").disabled = false;
  }
}

/** Goes to the next item of the round, or to the page that says why there is none. */
const next = () => byId("next").submit();

const submit = () => busy(async () => {
  await ask("POST", `/api/v1/assignments/${task.assignment}/judgement`, { answers: read(), ...clock.times }, { key: submitKey, version: task.version });
  drafts.done();
  next();
});

const undo = () => busy(async () => {
  const found = await ask("POST", `/api/v1/rounds/${task.round}/undo`, {});
  drafts.isDone = true;
  location.assign(`/assignments/${found.assignment}`);
});

function open(id) {
  byId(id).showModal();
}

byId("skip").addEventListener("close", ({ target }) => {
  if (target.returnValue !== "skip") return;
  busy(async () => {
    const reason = target.querySelector("input:checked").value;
    await ask("POST", `/api/v1/assignments/${task.assignment}/skip`, { reason }, { version: task.version });
    drafts.done();
    next();
  });
});
byId("skip").addEventListener("keydown", (event) => {
  const option = byId("skip").querySelectorAll('input[type="radio"]')[Number(event.key) - 1];
  if (option) option.checked = true;
});
byId("flag").addEventListener("close", ({ target }) => {
  if (target.returnValue !== "flag") return;
  busy(async () => {
    const field = target.querySelector("textarea");
    await ask("POST", `/api/v1/assignments/${task.assignment}/notes`, { body: field.value });
    field.value = "";
    drafts.say("The note is kept with the item.", false);
  });
});

const rubric = byId("rubric");
const toggleRubric = () => (rubric.open ? rubric.close() : rubric.show());
byId("open-rubric").addEventListener("click", (event) => { event.preventDefault(); toggleRubric(); });
byId("open-help").addEventListener("click", () => open("help"));
byId("open-skip").addEventListener("click", () => open("skip"));
byId("open-flag").addEventListener("click", () => open("flag"));
byId("undo").addEventListener("click", undo);
form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
form.addEventListener("input", (event) => { if (event.target.name) changed(); });
form.addEventListener("focusin", (event) => {
  const question = event.target.closest(".question");
  if (question && question !== current) go(question, false);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.defaultPrevented || document.querySelector("dialog:modal")) return;
  const isTyping = event.target.matches("textarea"), isLink = event.target.closest("a, button, summary, dialog");
  if ((isTyping && !event.ctrlKey) || (isLink && !event.ctrlKey) || event.target.matches('[role="combobox"]')) return;
  event.preventDefault();
  submit();
});

const keys = new Keys({
  skip: { key: "s", text: "Skip, with a reason", button: "#open-skip", run: () => open("skip") },
  flag: { key: "f", text: "Flag, with a note", button: "#open-flag", run: () => open("flag") },
  undo: { key: "u", text: "Undo the last submission", button: "#undo", run: () => { if (!byId("undo").disabled) undo(); } },
  rubric: { key: "r", text: "Rubric", button: "#open-rubric", run: toggleRubric },
  evidence: { key: "e", text: "To the evidence", run: () => byId("evidence").querySelector(".tokens")?.focus() },
  form: { key: "q", text: "To the open question", run: () => go(current ?? questions[0]) },
  values: { key: "v", text: "Values in the text", run: () => byId("show-values").click() },
  help: { key: "?", text: "These keys", button: "#open-help", run: () => open("help") },
});
keys.onDigit = choose;

if (drafts.kept) {
  restore(drafts.kept.answers);
  drafts.save();
} else {
  drafts.newer().then((answers) => { if (answers) restore(answers); }, (error) => say(error.message));
}
go(questions.find((question) => answer(question) === null) ?? questions[0], false);

// Half an hour at a stretch: a hint, nothing more.
const START = "clinlens-began", now = Date.now(), began = Number(sessionStorage.getItem(START)) || now;
sessionStorage.setItem(START, String(began));
setInterval(() => { byId("pause").hidden = Date.now() - began < 30 * 60_000; }, 10_000);
