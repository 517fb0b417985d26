// The job API, one function for each address.

import { Refused, ask, newKey } from "./requests.js";

const at = (id, rest = "") => `/api/jobs/${encodeURIComponent(id)}${rest}`;
const query = (given) => new URLSearchParams(Object.entries(given).filter(([, value]) => value !== "" && value !== null && value !== undefined));

export const models = () => ask("GET", "/api/models");
export const methods = () => ask("GET", "/api/methods");
export const tokens = (model, text) => ask("POST", "/api/tokens", { model, text });
export const list = (given) => ask("GET", `/api/jobs?${query(given)}`);
export const create = (job) => ask("POST", "/api/jobs", { client_uuid: newKey(), ...job });
export const batch = (action, ids, priority) => ask("POST", "/api/jobs/batch", { action, job_ids: ids, ...(priority === undefined ? {} : { priority }) });
export const status = (id) => ask("GET", at(id, "/status"));
export const results = (id) => ask("GET", at(id, "/results"));
export const metrics = (id) => ask("GET", at(id, "/metrics"));
export const categories = (id) => ask("GET", at(id, "/categories"));
export const log = (id) => ask("GET", at(id, "/log"));
export const cancel = (id) => ask("POST", at(id, "/cancel"), {});
export const retry = (id) => ask("POST", at(id, "/retry"), {});
export const change = (id, given) => ask("PATCH", at(id), given);
export const compare = (left, right, scale) => ask("GET", `/api/compare?${query({ left, right, scale })}`);
export const counterfactuals = (id, asked) => ask("POST", at(id, "/counterfactuals"), asked);
export const timeline = (id, index) => ask("GET", at(id, `/timeline?${query({ index })}`));
export const sensitivity = (id) => ask("GET", at(id, "/sensitivity"));

/** A part of a matrix: rows and columns of a level, the last not included; level n is reduced 2ⁿ-fold by the largest magnitude. */
export async function tile(address, rows, columns, level) {
  const answer = await fetch(`${address}?rows=${rows[0]}-${rows[1]}&cols=${columns[0]}-${columns[1]}&level=${level}`, { credentials: "same-origin", redirect: "error" });
  if (!answer.ok) throw new Refused(answer.status, (await answer.json()).error);
  return { rows: Number(answer.headers.get("X-Rows")), columns: Number(answer.headers.get("X-Cols")), values: new Float32Array(await answer.arrayBuffer()) };
}
