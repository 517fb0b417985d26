// Progress of a job over a WebSocket. A lost connection is made again, and continues after the last message that was heard.

import { status } from "./jobs.js";

const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 15_000;
const FINAL = ["completed", "partial", "failed", "cancelled"];

export const isFinal = (name) => FINAL.includes(name);

/**
 * Follows one job until it is over.
 * onState gets the whole state, merged from the snapshot and every later message; onLink gets true and false as the connection comes and goes.
 */
export class Live {
  constructor(id, onState, onLink = () => {}) {
    Object.assign(this, { id, onState, onLink, seq: 0, state: {}, wait: FIRST_WAIT_MS, isOver: false });
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/api/ws/jobs/${encodeURIComponent(this.id)}?after=${this.seq}`);
    this.socket.addEventListener("open", () => { this.wait = FIRST_WAIT_MS; this.onLink(true); });
    this.socket.addEventListener("message", (event) => this.heard(JSON.parse(event.data)));
    this.socket.addEventListener("close", () => this.lost());
  }

  heard(message) {
    if (message.type !== "snapshot" && message.seq !== undefined && message.seq <= this.seq) return;
    this.seq = Math.max(this.seq, message.seq ?? 0);
    this.state = merged(this.state, message);
    if (isFinal(this.state.status)) this.close();
    this.onState(this.state);
  }

  async lost() {
    if (this.isOver) return;
    this.onLink(false);
    try {
      this.heard({ type: "snapshot", ...(await status(this.id)) });
    } catch { /* the server cannot be reached; the next try is below */ }
    if (this.isOver) return;
    setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
  }

  close() {
    this.isOver = true;
    this.socket.close();
  }
}

/** The state after a message: a task's message changes its task alone, an event that ends the job sets its status. */
export function merged(state, message) {
  const { type, task, ...rest } = message;
  const next = { ...state, ...rest };
  if (isFinal(type) && rest.status === undefined) next.status = type;
  if (type === "task") {
    const changed = task ?? rest;
    next.tasks = (state.tasks ?? []).map((one) => (one.model === changed.model && one.method === changed.method ? { ...one, ...changed } : one));
    if (!task) next.status = state.status;
  }
  return next;
}
