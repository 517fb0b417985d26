// Requests to the server of this page, in its one shape: every write has a key that makes a repeat harmless.

const token = () => document.querySelector('meta[name="csrf"]').content;

/** A refusal by the server, or no answer at all (status 0). */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.current = error.current;
  }
}

/** A fresh UUID. */
export const newKey = () => crypto.randomUUID();

/** Sends a request; the answer's JSON, or Refused. */
export async function ask(method, path, body = undefined, { key = newKey(), version = null } = {}) {
  const headers = { "X-CSRF-Token": token(), Accept: "application/json" };
  if (method !== "GET") headers["Idempotency-Key"] = key;
  if (version !== null) headers["If-Match"] = `"${version}"`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", redirect: "error" });
  } catch {
    throw new Refused(0, { code: "no_connection", message: "No connection to the server." });
  }
  const found = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) throw new Refused(answer.status, found.error ?? { code: "failure", message: "The server answered in another way than expected." });
  document.dispatchEvent(new CustomEvent("server-heard"));
  return found;
}
