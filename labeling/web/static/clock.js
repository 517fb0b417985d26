// Time at work: counted while the page is looked at and something was done within half a minute.

const PATIENCE_MS = 30_000, STEP_MS = 500;

export class Clock {
  constructor(start = 0) {
    this.activeMs = start;
    this.began = performance.now();
    this.last = performance.now();
    for (const event of ["keydown", "pointermove", "pointerdown", "wheel", "scroll"])
      document.addEventListener(event, () => { this.last = performance.now(); }, { passive: true, capture: true });
    setInterval(() => {
      const isAtWork = document.visibilityState === "visible" && document.hasFocus() && performance.now() - this.last < PATIENCE_MS;
      if (isAtWork) this.activeMs += STEP_MS;
    }, STEP_MS);
  }

  get times() {
    return { active_ms: Math.round(this.activeMs), wall_ms: Math.round(performance.now() - this.began) };
  }
}
