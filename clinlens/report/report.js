"use strict";
// The feature browser. Text of the corpus is only ever set as textContent. The stream is written by features.py.

const data = JSON.parse(document.getElementById("features-data").textContent);
const byId = (id) => document.getElementById(id);
const KINDS = {
  top: ["Strongest contexts", "Where it fires most, each from another window of text."],
  quantile: ["Across its range", "An equal share from every part of its activations, strongest first: what it fires on when it is not at its peak."],
  contrast: ["Silent contrasts", "Random contexts in which it does not fire."],
};
const DIGITS = 3;

/** An element with a class, a text and children. */
function element(tag, { className = "", text = null } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

/** A token as people can see it: line ends, tabs and other invisible characters become signs. */
function visible(text) {
  if (text === "") return "∅";
  return text.replace(/\r?\n/g, "↵").replace(/\t/g, "⇥")
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "·");
}

/** A number with three significant digits. */
function figure(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 0.001 ? value.toExponential(1) : size < 1000 ? value.toPrecision(DIGITS) : Math.round(value).toString();
}

/** Reads natural numbers from a base64 stream of LEB128. */
function reader(base64) {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  let at = 0;
  return () => {
    let value = 0, factor = 1, byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    return value;
  };
}

/** A token on its own: a space before it is shown too. */
const alone = (text) => visible(text).replace(/^ +/, (spaces) => "␣".repeat(spaces.length));

const times = (n, make) => Array.from({ length: n }, make);

function readLogit(next) {
  const token = data.vocabulary[next()], value = next();
  return { token, value: (value % 2 ? -(value + 1) / 2 : value / 2) / data.logit_steps };
}

function readContext(next) {
  const context = { document: next(), peak: next(), isHeldOut: next() === 1, level: next() };
  context.tokens = times(next(), () => data.vocabulary[next()]);
  context.levels = new Array(context.tokens.length).fill(0);
  times(next(), () => { const place = next(); context.levels[place] = next(); });
  return context;
}

/** The listed features of an SAE, read once. */
function featuresOf(sae) {
  if (sae.features) return sae.features;
  const next = reader(sae.stream);
  sae.features = sae.index.map((index, row) => {
    const feature = { index, density: sae.density[row], max: sae.max_activation[row], concepts: sae.concepts[row], label: sae.labels?.[row] };
    feature.up = times(next(), () => readLogit(next));
    feature.down = times(next(), () => readLogit(next));
    feature.contexts = Object.fromEntries(data.kinds.map((kind) => [kind, times(next(), () => readContext(next))]));
    feature.peaks = [...new Set(feature.contexts.top.map((context) => context.tokens[context.peak]))];
    const words = [...(feature.label ? [feature.label.leading] : []), ...feature.concepts.map(([name]) => name), ...feature.peaks, ...[...feature.up, ...feature.down].map((logit) => logit.token)];
    feature.words = words.join("\n").toLowerCase();
    return feature;
  });
  return sae.features;
}

const concept = (feature) => (feature.concepts.length ? feature.concepts[0][1] : -1);
const ORDERS = {
  index: (a, b) => a.index - b.index,
  density: (a, b) => b.density - a.density || a.index - b.index,
  max: (a, b) => b.max - a.max || a.index - b.index,
  concept: (a, b) => concept(b) - concept(a) || a.index - b.index,
};
const state = { sae: data.saes[0], feature: null };

/** What stands at the right of a list entry: the figure by which the list is sorted. */
function listFigure(feature, order) {
  if (order === "max") return figure(feature.max);
  if (order === "concept") return feature.concepts.length ? concept(feature).toFixed(DIGITS) : "";
  return `${figure(100 * feature.density)} %`;
}

/** Bold for a concept that the feature recovers, italic for one it merely does best on. */
const conceptClass = (feature) => (concept(feature) >= state.sae.threshold ? "concept recovered" : "concept");

function listEntry(feature, order) {
  const about = element("span", { className: "about" });
  if (feature.label) about.append(element("span", { className: "concept recovered", text: `${feature.label.leading}  ` }));
  if (feature.concepts.length) about.append(element("span", { className: conceptClass(feature), text: `${feature.concepts[0][0]}  ` }));
  about.append(feature.peaks.map(alone).join(" · ") || "no context found");
  const button = element("button", {}, element("span", { className: "index", text: feature.index }), about,
    element("span", { className: "figure", text: listFigure(feature, order) }));
  button.type = "button";
  button.dataset.index = feature.index;
  button.tabIndex = -1;
  button.addEventListener("click", () => choose(feature));
  return element("li", {}, button);
}

/** Fills the list; keeps the chosen feature if it is still in it. */
function showList() {
  const wanted = byId("filter").value.trim().toLowerCase(), order = byId("sort").value;
  const all = featuresOf(state.sae);
  const found = all.filter((feature) => feature.words.includes(wanted)).sort(ORDERS[order]);
  byId("list").replaceChildren(...found.map((feature) => listEntry(feature, order)));
  const figures = { max: "max activation", concept: "concept AUROC" }[order] || "density";
  const matching = wanted ? `${found.length} of ${all.length} listed features match` : `${all.length} of ${state.sae.n_live} live features`;
  byId("status").textContent = `${matching} · right: ${figures}`;
  if (found.length) choose(found.includes(state.feature) ? state.feature : found[0]);
  else byId("detail").replaceChildren(element("p", { text: "No listed feature matches the filter. All features are in examples/*.h5." }));
}

/** Shows a feature and marks it in the list. */
function choose(feature, { isAsked = false } = {}) {
  state.feature = feature;
  for (const button of byId("list").querySelectorAll("button")) {
    const isChosen = Number(button.dataset.index) === feature.index;
    button.tabIndex = isChosen ? 0 : -1;
    if (isChosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (isChosen) scrollInList(button);
    if (isChosen && isAsked) button.focus({ preventScroll: true });
  }
  showDetail(feature);
}

/** Brings an entry into view without moving the page. */
function scrollInList(button) {
  const list = byId("list"), top = button.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + button.offsetHeight - list.clientHeight;
}

function showDetail(feature) {
  const facts = element("dl", { className: "figures" });
  const fact = (name, text) => facts.append(element("div", {}, element("dt", { text: name }), element("dd", { text })));
  fact("fires on", `${figure(100 * feature.density)} % of tokens`);
  fact("max activation", figure(feature.max));
  if (feature.label) labelFacts(feature.label, fact);
  for (const [name, auroc] of feature.concepts) {
    fact("best for the concept", `${name} (AUROC ${auroc.toFixed(DIGITS)}${auroc < state.sae.threshold ? ", not recovered" : ""})`);
  };
  const parts = [element("h3", { text: `Feature ${feature.index}` }), element("p", { text: `${state.sae.label} · ${state.sae.hook_point} · ${state.sae.sae_id}` }), facts];
  if (feature.up.length) parts.push(element("div", { className: "logits" }, logits("Pushes the next token towards", feature.up), logits("and away from", feature.down)));
  for (const kind of data.kinds) {
    const [title, meaning] = KINDS[kind], contexts = feature.contexts[kind];
    parts.push(element("h4", { text: title }), element("p", { text: contexts.length ? meaning : "None was found in the text that was searched." }));
    parts.push(element("ol", { className: "contexts" }, ...contexts.map((context) => contextRow(context, feature))));
  }
  byId("detail").replaceChildren(...parts);
  byId("detail").scrollTop = 0;
}

/** What physicians said: the leading answer, all answers with their shares, how many raters gave them. */
function labelFacts(label, fact) {
  const shares = Object.entries(label.distribution).sort((a, b) => b[1] - a[1]);
  fact("physicians' label", label.leading);
  fact(`answers of ${label.n_raters} rater${label.n_raters === 1 ? "" : "s"}`, shares.map(([code, share]) => `${code.replaceAll("_", " ")} ${Math.round(100 * share)} %`).join(", "));
  if (label.state.includes("ambiguous")) fact("state", label.state);
}

function logits(title, found) {
  const items = found.map(({ token, value }) => element("li", {}, alone(token), element("small", { text: ` ${value.toFixed(2)}` })));
  return element("div", {}, element("h4", { text: title }), element("ul", {}, ...items));
}

function contextRow(context, feature) {
  const where = element("span", { className: "where", text: `document ${context.document}` });
  if (context.isHeldOut) where.prepend(element("span", { className: "held-out", text: "held out" }));
  const value = figure((context.level * feature.max) / data.levels);
  return element("li", {}, element("span", { className: "value", text: value }), tokens(context, feature), where);
}

/** The tokens of a context, shaded where the feature fires; silent stretches are plain text. */
function tokens(context, feature) {
  const shown = element("span", { className: "tokens" });
  context.tokens.forEach((token, place) => {
    const level = context.levels[place];
    if (!level) return shown.append(visible(token));
    const mark = element(place === context.peak ? "b" : "span", { className: "act", text: visible(token) });
    const value = figure((level * feature.max) / data.levels);
    mark.title = `activation ${value}`;
    mark.dataset.value = value;
    mark.style.setProperty("--strength", level / data.levels);
    return shown.append(mark);
  });
  return shown;
}

/** Moves through the list by keys. */
function moveInList(event) {
  const buttons = [...byId("list").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const goal = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
  if (goal === undefined || at < 0) return;
  event.preventDefault();
  const button = buttons[Math.min(Math.max(goal, 0), buttons.length - 1)];
  choose(featuresOf(state.sae).find((feature) => feature.index === Number(button.dataset.index)), { isAsked: true });
}

/** Follows a link to a feature: #feature/<hook point>/<SAE>/<index>. */
function followLink() {
  const [word, ...place] = decodeURIComponent(location.hash.slice(1)).split("/");
  const index = Number(place.pop()), sae = data.saes.find((one) => one.key === place.join("/"));
  if (word !== "feature" || !sae) return;
  byId("filter").value = "";
  byId("sae").value = sae.key;
  state.sae = sae;
  state.feature = featuresOf(sae).find((feature) => feature.index === index) || null;
  showList();
  byId("features").scrollIntoView();
  if (state.feature) choose(state.feature, { isAsked: true });
}

/** Lets the keyboard scroll the tables that do not fit. */
function reachScrolling() {
  for (const box of document.querySelectorAll(".table")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  }
}

reachScrolling();
document.addEventListener("toggle", reachScrolling, true);
if (data.saes.length) {
  byId("sae").append(...data.saes.map((sae) => Object.assign(element("option", { text: sae.label }), { value: sae.key })));
  const startAgain = () => {
    state.sae = data.saes.find((sae) => sae.key === byId("sae").value);
    state.feature = null;
    showList();
  };
  byId("sae").addEventListener("change", startAgain);
  byId("filter").addEventListener("input", showList);
  byId("sort").addEventListener("change", startAgain);
  byId("values").addEventListener("change", () => byId("detail").classList.toggle("with-values", byId("values").checked));
  byId("list").addEventListener("keydown", moveInList);
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", followLink);
  byId("browser").hidden = false;
  showList();
  followLink();
}
