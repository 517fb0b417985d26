// Drafts: to the server shortly after every change; where it cannot be reached, in this browser, and sent again later.

import { ask } from "./requests.js";

const PAUSE_MS = 700, FIRST_RETRY_MS = 1000, LAST_RETRY_MS = 30_000;

export class Drafts {
  constructor(task, read, say) {
    Object.assign(this, { task, read, say });
    this.name = `clinlens-draft-${task.assignment}`;
    this.retryMs = FIRST_RETRY_MS;
    this.timer = null;
    this.isDone = false;
    addEventListener("online", () => this.save());
    addEventListener("pagehide", () => { if (this.timer !== null && !this.isDone) this.keep(this.read()); });
  }

  /** What this browser kept because the server did not get it. */
  get kept() {
    try {
      return JSON.parse(localStorage.getItem(this.name));
    } catch {
      return null;
    }
  }

  /** What the server has, if it was saved while this page was already on its way and shows less. */
  async newer() {
    if ((sessionStorage.getItem(this.name) ?? "") <= (this.task.saved_at ?? "")) return null;
    return (await ask("GET", `/api/v1/assignments/${this.task.assignment}`)).draft;
  }

  keep(answers) {
    try {
      localStorage.setItem(this.name, JSON.stringify({ answers, at: new Date().toISOString() }));
      return true;
    } catch {
      return false;
    }
  }

  changed() {
    if (!this.isDone) this.later(PAUSE_MS);
  }

  later(pause) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), pause);
  }

  async save() {
    clearTimeout(this.timer);
    if (this.isDone) return;
    const answers = this.read();
    try {
      const saved = await ask("PUT", `/api/v1/assignments/${this.task.assignment}/draft`, { answers }, { version: this.task.version });
      this.timer = null;
      this.retryMs = FIRST_RETRY_MS;
      localStorage.removeItem(this.name);
      sessionStorage.setItem(this.name, saved.saved_at);
      this.say(`Saved ${new Date(saved.saved_at).toLocaleTimeString([], { hour12: false })}`, false);
    } catch (error) {
      this.failed(error, answers);
    }
  }

  failed(error, answers) {
    const isKept = this.keep(answers);
    const where = isKept ? "kept in this browser" : "kept on this page only";
    if (error.status === 401) {
      this.say(`Signed out; ${where}. Sign in in another tab, then go on here.`, true);
    } else if (error.status === 409 || error.status === 404) {
      this.say(`${error.message} What you wrote is ${where}.`, true);
      return;
    } else {
      this.say(`Not saved on the server (${error.message.replace(/\.$/, "")}); ${where}, trying again.`, true);
    }
    this.later(this.retryMs);
    this.retryMs = Math.min(LAST_RETRY_MS, this.retryMs * 2);
  }

  /** The work is submitted or skipped: nothing more to save. */
  done() {
    this.isDone = true;
    clearTimeout(this.timer);
    localStorage.removeItem(this.name);
  }
}
