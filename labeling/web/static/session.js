// Warns two minutes before a session ends, and lets it be extended. The server decides; this only tells.

import { ask } from "./requests.js";

const WARN_S = 120;
const seconds = (name) => Number(document.querySelector(`meta[name="${name}"]`).content);
const dialog = document.getElementById("idle");
const text = document.getElementById("idle-text");
const stay = document.getElementById("idle-stay");
const absolute = performance.now() / 1000 + seconds("absolute-seconds");
let idleLength = seconds("idle-seconds");
let idle = performance.now() / 1000 + idleLength;

function tick() {
  const now = performance.now() / 1000, left = Math.min(idle, absolute) - now;
  if (left <= 0) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
    return;
  }
  if (left < WARN_S) {
    const isFinal = absolute <= idle;
    if (!dialog.open) dialog.showModal();
    stay.hidden = isFinal;
    const rounded = left > 20 ? Math.ceil(left / 20) * 20 : Math.ceil(left);
    const said = `You will be signed out in about ${rounded} seconds${isFinal ? ", since a session lasts no longer; sign in again to go on" : ""}. What you wrote is kept as a draft.`;
    if (text.textContent !== said) text.textContent = said;
  } else if (dialog.open) {
    dialog.close();
  }
}

document.addEventListener("server-heard", () => { idle = performance.now() / 1000 + idleLength; });
stay.addEventListener("click", async () => {
  try {
    await ask("POST", "/api/v1/session/extension", {});
    dialog.close();
  } catch (error) {
    text.textContent = error.message;
  }
});
document.querySelector('form[action="/sign-out"]').addEventListener("submit", () => {
  for (const name of Object.keys(localStorage)) if (name.startsWith("clinlens-draft-")) localStorage.removeItem(name);
});
setInterval(tick, 1000);
