// The concept page: which links are drawn, what belongs to a feature, and one example under several methods.

import { byId, make, say, words } from "./elements.js";
import * as jobs from "./jobs.js";
import { modelsOf, outcomesOf } from "./outcomes.js";
import { methodsPanel } from "./panels.js";

const flow = byId("flow").querySelector("svg"), strong = byId("strong-only");
const LISTED = 100;

/** Draws the links of the chosen kinds; a feature that is looked at has all of its own, however weak. */
function showEdges(node = null) {
  const kinds = new Set([...document.querySelectorAll("[data-kind]:checked")].map((box) => box.dataset.kind));
  const near = new Set(node ? [node] : []);
  for (const edge of flow.querySelectorAll(".edge")) {
    const isMine = node !== null && (edge.dataset.source === node || edge.dataset.target === node);
    const isKind = [...kinds].some((kind) => edge.classList.contains(kind));
    edge.classList.toggle("hidden-edge", !isKind || (strong.checked && edge.classList.contains("weak") && !isMine));
    edge.classList.toggle("faded", node !== null && !isMine);
    if (isMine && isKind) { near.add(edge.dataset.source); near.add(edge.dataset.target); }
  }
  for (const box of flow.querySelectorAll("[data-node]")) box.classList.toggle("faded", node !== null && !near.has(box.dataset.node));
  if (node) say("node-status", `${node} is linked to ${near.size - 1} feature${near.size === 2 ? "" : "s"}.`);
}

for (const box of document.querySelectorAll(".flow-controls input")) box.addEventListener("change", () => showEdges());
for (const box of flow.querySelectorAll("[data-node]")) {
  for (const event of ["pointerenter", "focus"]) box.addEventListener(event, () => showEdges(box.dataset.node));
  for (const event of ["pointerleave", "blur"]) box.addEventListener(event, () => showEdges());
  box.addEventListener("click", () => requestAnimationFrame(() => document.querySelector(box.getAttribute("href"))?.focus()));
}
showEdges();

const choice = byId("example"), place = byId("example-strips");

async function showExample() {
  place.replaceChildren();
  const address = new URL(location);
  if (choice.value) address.searchParams.set("job", choice.value); else address.searchParams.delete("job");
  history.replaceState(null, "", address);
  if (!choice.value) return;
  try {
    const outcomes = outcomesOf(await jobs.results(choice.value)), [model] = modelsOf(outcomes);
    place.replaceChildren(...methodsPanel(outcomes.filter((one) => one.model === model)).filter(Boolean), make("p", {}, make("a", { href: `/desk/jobs/${encodeURIComponent(choice.value)}` }, "Open the job")));
  } catch (error) {
    place.replaceChildren(make("p", { class: "note bad", role: "alert" }, error.message));
  }
}

async function examples() {
  const { jobs: listed } = await jobs.list({ status: "completed,partial", sort: "created_at", order: "desc", page: 1, per_page: LISTED });
  const wanted = new URLSearchParams(location.search).get("job");
  choice.append(...listed.map((one) => make("option", { value: one.job_id, selected: one.job_id === wanted }, `${one.title || one.job_id.slice(0, 8)} (${one.methods.map(words).join(", ")})`)));
  if (wanted) await showExample();
}

choice.addEventListener("change", showExample);
examples().catch((error) => place.replaceChildren(make("p", { class: "note bad", role: "alert" }, error.message)));
