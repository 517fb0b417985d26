// The page of one job: its progress while it runs, and then what came out.

import { byId, make, say, table, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { Live, isFinal } from "./live.js";
import { modelsOf, outcomesOf } from "./outcomes.js";
import { Stage } from "./stage.js";

const id = byId("job").dataset.job;
let stage = null, record = null, outcomes = [];

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function showState(state, asked) {
  const { status, progress = 0, tasks = [] } = state;
  say("status", status);
  byId("status").className = `tag ${{ completed: "good", failed: "warn", partial: "warn" }[status] ?? ""}`;
  byId("cancel").hidden = isFinal(status);
  byId("retry").hidden = !["failed", "cancelled", "partial"].includes(status);
  byId("progress").hidden = status === "completed";
  byId("bar").value = progress;
  const waiting = status === "queued" && state.position ? `, ${state.position} in the queue before it` : "";
  const left = state.eta_s ? `, about ${Math.ceil(state.eta_s)} s left` : "";
  say("progress-text", `${Math.round(100 * progress)} %${waiting}${left}`);
  if (tasks.length) byId("tasks").replaceChildren(table("Tasks", ["model", "method", "status", "seconds", "remark"], tasks.map((one) => [one.model, words(one.method), one.status, one.seconds ?? null, one.problem ?? ""])));
  if (isFinal(status) && tasks.some((one) => one.problem)) showLog();
  if (isFinal(status) && status !== "cancelled" && !stage) load(asked);
}

/** What went wrong, by kind and place; never in the words of the text. */
async function showLog() {
  const { lines } = await jobs.log(id).catch(() => ({ lines: [] }));
  if (lines.length && !byId("log")) byId("tasks").append(make("details", { id: "log" }, make("summary", {}, "Log"), make("pre", { tabindex: 0 }, lines.map((line) => JSON.stringify(line)).join("\n"))));
}

async function load(asked = jobs.results(id)) {
  try {
    record = await asked;
  } catch (error) {
    problem(error.message);
    return;
  }
  if (!record.results.length) return;
  outcomes = outcomesOf(record, () => stage?.came());
  byId("result").hidden = false;
  byId("follow-up").hidden = byId("export").hidden = false;
  stage = new Stage();
  chooseModel();
  performance.mark("first-view");
  document.dispatchEvent(new CustomEvent("first-view"));
  window.requestIdleCallback(() => act(panels));
}

function chooseModel() {
  const models = modelsOf(outcomes), choice = byId("model");
  choice.replaceChildren(...models.map((name) => make("option", {}, name)));
  byId("model-field").hidden = models.length < 2;
  const show = () => stage.show(outcomes.filter((one) => one.model === choice.value));
  choice.addEventListener("change", () => { show(); act(panels); });
  const second = outcomes.find((one) => one.model !== models[0]) ?? outcomes[1];
  byId("split").hidden = !second;
  if (second) byId("split").href = `/desk/compare?left=${id}:${outcomes[0].index}&right=${id}:${second.index}`;
  show();
}

/** A panel is filled when it is first opened, and again after another model was chosen. */
function panel(name, fill) {
  const place = byId(`panel-${name}`);
  const open = async () => {
    if (!place.open) return;
    place.lastElementChild.replaceChildren(make("p", { class: "soft" }, "…"));
    try {
      place.lastElementChild.replaceChildren(...(await fill()).filter(Boolean));
    } catch (error) {
      place.lastElementChild.replaceChildren(make("p", { class: "note bad", role: "alert" }, error.message));
    }
  };
  place.ontoggle = open;
  open();
}

/** What can wait until the first view stands is fetched afterwards: the panels, and their modules with them. */
async function panels() {
  const [{ methodsPanel, metricsPanel, originPanel, tokensPanel }, { editor }, { categoryFilter }, { conversation }] = await Promise.all([
    import("./panels.js"), import("./counterfactuals.js"), import("./category_filter.js"), import("./conversation.js"),
  ]);
  const shown = stage.outcomes;
  panel("methods", () => methodsPanel(shown));
  panel("metrics", async () => metricsPanel(await jobs.metrics(id)));
  panel("tokens", () => tokensPanel(shown));
  panel("origin", () => originPanel(shown, record));
  panel("edits", () => editor(id, shown));
  categoryFilter(stage, () => jobs.categories(id));
  await conversation(id, stage, panel);
}

async function act(work) {
  problem("");
  try {
    await work();
  } catch (error) {
    problem(error.message);
  }
}

byId("cancel").addEventListener("click", () => act(() => jobs.cancel(id)));
byId("retry").addEventListener("click", () => act(async () => { await jobs.retry(id); location.reload(); }));
byId("rename").addEventListener("click", () => { byId("new-title").value = byId("title").textContent; byId("rename-dialog").showModal(); });
byId("rename-dialog").addEventListener("close", () => {
  const title = byId("new-title").value.trim();
  if (byId("rename-dialog").returnValue === "yes" && title) act(async () => { await jobs.change(id, { title }); say("title", title); });
});
byId("export").addEventListener("click", () => byId("export-dialog").showModal());
byId("export-dialog").addEventListener("click", (event) => {
  const kind = event.target.dataset?.export;
  if (kind) act(async () => (await import("./exports.js")).exportsOf(kind, record, stage));
});

act(async () => {
  const asked = jobs.results(id); // most jobs that are looked at are done: what came out is asked for with the state
  asked.catch(() => {});
  const state = await jobs.status(id);
  if (state.title) say("title", state.title);
  showState(state, asked);
  if (!isFinal(state.status)) new Live(id, (found) => showState(found), (isUp) => say("link", isUp ? "" : "The connection is lost; trying again …"));
});
