// All jobs: found, sorted, followed while they run, and acted on together.

import { byId, figure, make, say, when, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { Live, isFinal } from "./live.js";

const PER_PAGE = 25, MOST_FOLLOWED = 6, LOOK_AGAIN_MS = 5000;
const filters = byId("filters"), batch = byId("batch");
const chosen = new Set(), followed = new Map();
let page = 1, shown = [], typing = null;

const UNDER_WAY = ["queued", "running"];
const HEADS = ["", "Job", "Status", "Models", "Methods", "Priority", "Created", "Took"];

function asked() {
  const given = Object.fromEntries(new FormData(filters));
  return { ...given, page, per_page: PER_PAGE };
}

async function load() {
  try {
    const found = await jobs.list(asked());
    problem("");
    show(found.jobs, found.total);
  } catch (error) {
    problem(error.message);
  }
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function show(found, total) {
  const were = new Map(shown.map((job) => [job.job_id, job.status]));
  shown = found;
  const parts = { running: found.filter((job) => UNDER_WAY.includes(job.status)), finished: found.filter((job) => !UNDER_WAY.includes(job.status)) };
  for (const [name, list] of Object.entries(parts)) {
    const has = document.activeElement?.closest(`#${name}`) ? document.activeElement.dataset.id : null;
    byId(name).replaceChildren(list.length ? tableOf(name === "running" ? "Jobs under way" : "Finished jobs", list, were) : make("p", { class: "soft" }, name === "running" ? "Nothing is running or waiting." : "No finished job fits."));
    if (has) byId(name).querySelector(`[data-id="${CSS.escape(has)}"]`)?.focus();
  }
  const pages = Math.max(1, Math.ceil(total / PER_PAGE));
  say("place", total ? `Page ${page} of ${pages}, ${total} job${total === 1 ? "" : "s"}` : "No job yet");
  byId("earlier").disabled = page <= 1;
  byId("later").disabled = page >= pages;
  for (const id of chosen) if (!found.some((job) => job.job_id === id)) chosen.delete(id);
  showChosen();
  follow(parts.running);
}

function tableOf(caption, list, were) {
  return make("div", { class: "table", role: "region", "aria-label": caption, tabindex: 0 }, make("table", { class: "jobs" },
    make("caption", { class: "hidden-label" }, caption),
    make("thead", {}, make("tr", {}, HEADS.map((head) => make("th", { scope: "col", class: ["Priority", "Took"].includes(head) ? "number" : null }, head || make("span", { class: "hidden-label" }, "Choose"))))),
    make("tbody", {}, list.map((job) => rowOf(job, were.has(job.job_id) && were.get(job.job_id) !== job.status && isFinal(job.status))))));
}

function rowOf(job, isNew) {
  const name = job.title || job.job_id.slice(0, 8);
  const box = make("input", { type: "checkbox", "aria-label": `Choose ${name}`, "data-id": job.job_id, checked: chosen.has(job.job_id) });
  box.addEventListener("change", () => { if (box.checked) chosen.add(job.job_id); else chosen.delete(job.job_id); showChosen(); });
  return make("tr", { class: isNew ? "arrived" : null, "data-row": job.job_id },
    make("td", {}, box),
    make("th", { scope: "row" }, make("a", { href: `/desk/jobs/${encodeURIComponent(job.job_id)}` }, name)),
    make("td", {}, state(job)),
    make("td", {}, job.models.join(", ")),
    make("td", {}, job.methods.map(words).join(", ")),
    make("td", { class: "number" }, String(job.priority)),
    make("td", {}, when(job.created_at)),
    make("td", { class: "number" }, job.duration_s === null || job.duration_s === undefined ? "–" : `${figure(job.duration_s)} s`));
}

function state(job) {
  const kind = { completed: "good", failed: "warn", partial: "warn" }[job.status] ?? "";
  const parts = [make("span", { class: `tag ${kind}` }, job.status)];
  if (job.status === "running") parts.push(make("progress", { max: 1, value: job.progress ?? 0, "aria-label": "Share that is done", class: "small" }));
  return make("span", { class: "row middle" }, parts);
}

/** Follows some of the jobs that are under way; what they tell changes their rows, and an end loads the list again. */
function follow(running) {
  const wanted = new Set(running.slice(0, MOST_FOLLOWED).map((job) => job.job_id));
  for (const [id, live] of followed) if (!wanted.has(id)) { live.close(); followed.delete(id); }
  for (const id of wanted) {
    if (followed.has(id)) continue;
    followed.set(id, new Live(id, (found) => {
      if (isFinal(found.status)) { load(); return; }
      const job = shown.find((one) => one.job_id === id), place = document.querySelector(`[data-row="${CSS.escape(id)}"]`);
      if (!job || !place) return;
      Object.assign(job, { status: found.status, progress: found.progress });
      place.children[2].replaceChildren(state(job));
    }));
  }
}

function showChosen() {
  const count = chosen.size;
  say("chosen", count ? `${count} job${count === 1 ? "" : "s"} chosen` : "No job chosen");
  for (const button of batch.querySelectorAll("button")) button.disabled = button.dataset.action === "compare" ? count !== 2 : !count;
}

const sure = byId("sure");

/** Asks before what cannot be taken back. */
function isSure(count) {
  byId("sure-text").textContent = `${count} job${count === 1 ? "" : "s"} and what came out of ${count === 1 ? "it" : "them"}. This cannot be taken back.`;
  sure.returnValue = "no";
  sure.showModal();
  return new Promise((resolve) => { sure.addEventListener("close", () => resolve(sure.returnValue === "yes"), { once: true }); });
}

async function act(action) {
  const ids = [...chosen];
  if (action === "compare") { location.assign(`/desk/compare?left=${ids[0]}:0&right=${ids[1]}:0`); return; }
  if (action === "delete" && !(await isSure(ids.length))) return;
  try {
    await jobs.batch(action, ids, action === "priority" ? Number(batch.elements.priority.value) : undefined);
    if (action === "delete") chosen.clear();
  } catch (error) {
    problem(error.message);
  }
  await load();
}

batch.addEventListener("click", (event) => { if (event.target.dataset?.action) act(event.target.dataset.action); });
batch.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => { page = 1; load(); }, 200); });
byId("earlier").addEventListener("click", () => { page -= 1; load(); });
byId("later").addEventListener("click", () => { page += 1; load(); });

async function choices() {
  const [models, methods] = await Promise.all([jobs.models(), jobs.methods()]);
  filters.elements.model.append(...models.models.map((one) => make("option", { value: one.name }, one.name)));
  filters.elements.method.append(...methods.methods.map((one) => make("option", { value: one.name }, words(one.name))));
}

load();
choices().catch((error) => problem(error.message));
setInterval(() => { if (!document.hidden && !sure.open && shown.some((job) => UNDER_WAY.includes(job.status))) load(); }, LOOK_AGAIN_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
