/**
 * Keyboard, mouse and gamepad, while the picture has them: from a click on it until
 * Esc, or until the page is out of sight.  What was pressed is released then.
 */
import { BUTTONS, EV_ABS, EV_KEY, EV_REL, EV_SYN, KEYS, PAD_AXES, PAD_BUTTONS, REL_HWHEEL, REL_WHEEL, REL_X, REL_Y } from "./keys.js";

const MOST_EVENTS = 64;
/** Pixels of scrolling that are one notch of a wheel, and lines that are. */
const NOTCH = [100, 3, 1];
const STICK_RANGE = 32767;
/** A stick at rest is not quite still. */
const STICK_STEP = 512;

export class Input extends EventTarget {
  /** `send(events)` takes a group of `[kind, code, value]`, which ends with EV_SYN. */
  constructor(canvas, send) {
    super();
    this.canvas = canvas;
    this.sendGroup = send;
    this.isAllowed = false;
    this.isActive = false;
    this.hadLock = false;
    this.held = new Set();
    this.moved = [0, 0];
    this.scrolled = [0, 0];
    this.axes = new Map();
    canvas.addEventListener("click", () => this.begin());
    // Who comes by keyboard begins by Enter.
    canvas.addEventListener("keydown", (event) => event.code === "Enter" && !event.repeat && this.begin());
    canvas.addEventListener("mousedown", (event) => this.button(event, 1));
    addEventListener("mouseup", (event) => this.button(event, 0));
    canvas.addEventListener("mousemove", (event) => this.move(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => this.isActive && event.preventDefault());
    // First of all who listen: what begins the capture is not itself captured.
    addEventListener("keydown", (event) => this.key(event, 1), { capture: true });
    addEventListener("keyup", (event) => this.key(event, 0), { capture: true });
    addEventListener("blur", () => this.end());
    canvas.addEventListener("blur", () => this.end());
    document.addEventListener("visibilitychange", () => document.hidden && this.end());
    document.addEventListener("pointerlockchange", () => this.lockChanged());
  }

  async begin() {
    if (!this.isAllowed || this.isActive) return;
    this.isActive = true;
    this.hadLock = false;
    this.canvas.focus();
    this.dispatchEvent(new Event("change"));
    this.everyFrame();
    // Without the lock the keyboard works all the same.
    await Promise.resolve(this.canvas.requestPointerLock({ unadjustedMovement: true })).catch(() => {});
  }

  /** Give everything back. */
  end() {
    if (!this.isActive) return;
    this.isActive = false;
    this.release();
    if (document.pointerLockElement === this.canvas) document.exitPointerLock();
    this.dispatchEvent(new Event("change"));
  }

  /** Let go of all that is pressed, and of the sticks. */
  release() {
    const events = [...this.held].map((code) => [EV_KEY, code, 0]);
    for (const [code, value] of this.axes) {
      if (value !== 0) events.push([EV_ABS, code, 0]);
    }
    this.held.clear();
    this.axes.clear();
    this.moved = [0, 0];
    this.scrolled = [0, 0];
    this.send(events);
  }

  send(events) {
    while (events.length > 0) {
      this.sendGroup([...events.splice(0, MOST_EVENTS - 1), [EV_SYN, 0, 0]]);
    }
  }

  lockChanged() {
    const isLocked = document.pointerLockElement === this.canvas;
    if (this.hadLock && !isLocked) this.end();
    this.hadLock = isLocked;
    if (isLocked && !this.isActive) document.exitPointerLock();
  }

  /** One key or button, once: what is down already is not pressed again. */
  press(code, value) {
    if (value === 1 ? this.held.has(code) : !this.held.delete(code)) return;
    if (value === 1) this.held.add(code);
    this.flush();
    this.send([[EV_KEY, code, value]]);
  }

  key(event, value) {
    if (!this.isActive) return;
    event.preventDefault();
    if (event.code === "Escape") this.end();
    else if (KEYS.has(event.code) && !event.repeat) this.press(KEYS.get(event.code), value);
  }

  button(event, value) {
    if (!this.isActive) return;
    if (value === 1) event.preventDefault();
    if (event.button < BUTTONS.length) this.press(BUTTONS[event.button], value);
  }

  move(event) {
    if (!this.isActive || document.pointerLockElement !== this.canvas) return;
    this.moved[0] += event.movementX;
    this.moved[1] += event.movementY;
  }

  wheel(event) {
    if (!this.isActive) return;
    event.preventDefault();
    const notch = NOTCH[event.deltaMode];
    this.scrolled[0] += event.deltaX / notch;
    this.scrolled[1] -= event.deltaY / notch;
  }

  /** Send what has moved, once a frame of the screen and before any button. */
  flush() {
    const [x, y] = this.moved.map(Math.trunc);
    const [across, up] = this.scrolled.map(Math.trunc);
    this.moved = [this.moved[0] - x, this.moved[1] - y];
    this.scrolled = [this.scrolled[0] - across, this.scrolled[1] - up];
    const events = [[REL_X, x], [REL_Y, y], [REL_HWHEEL, across], [REL_WHEEL, up]];
    this.send(events.filter(([, value]) => value !== 0).map(([code, value]) => [EV_REL, code, value]));
  }

  everyFrame() {
    if (!this.isActive) return;
    this.flush();
    const pad = navigator.getGamepads?.().find((one) => one?.mapping === "standard");
    if (pad) this.pad(pad);
    requestAnimationFrame(() => this.everyFrame());
  }

  pad(pad) {
    PAD_BUTTONS.forEach((code, place) => this.press(code, pad.buttons[place]?.pressed ? 1 : 0));
    const events = [];
    PAD_AXES.forEach((code, place) => {
      const value = Math.round((pad.axes[place] ?? 0) * STICK_RANGE);
      if (Math.abs(value - (this.axes.get(code) ?? 0)) < STICK_STEP) return;
      this.axes.set(code, value);
      events.push([EV_ABS, code, value]);
    });
    this.send(events);
  }
}
