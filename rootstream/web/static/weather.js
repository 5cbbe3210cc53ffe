/**
 * The weather of the demo: what the network between its two ends is made to do, and
 * what came of it.
 */
import { ask } from "./actions.js";
import { amount, byId, element, setText, timeOfDay } from "./dom.js";

const WEATHERS = [
  ["Block UDP", "block udp"],
  ["Cut for 5 s", "cut 5s"],
  ["5 % loss", "loss 5%"],
  ["100 ms delay", "delay 100ms"],
  ["Host offline", "host offline"],
  ["Clear", "clear"],
];
const MOST_LINES = 5;
const TOLD = new Set(["state", "path", "suspect", "impaired", "recovered", "picture", "attempt"]);

export class Weather {
  /** `picture` knows how long it stopped; null where it is not shown. */
  constructor(picture) {
    this.picture = picture;
    this.since = null;
    this.now = element("p", { className: "weather-now", role: "status" });
    this.gap = element("p", { className: "gap" });
    this.lines = element("ol", { className: "timeline short" });
    byId("weather-report").append(this.now, this.gap, this.lines);
    for (const [label, text] of WEATHERS) {
      const button = element("button", { type: "button" }, label);
      button.dataset.weather = text;
      button.onclick = () => this.make(button, label, text);
      byId("weather-buttons").append(button);
    }
    setInterval(() => this.sayGap(), 200);
  }

  async make(button, label, text) {
    button.disabled = true;
    this.since = performance.now();
    this.lines.replaceChildren();
    setText(this.now, `${timeOfDay(new Date())} ${label}.`);
    try {
      await ask("weather", { text });
    } catch (error) {
      setText(this.now, error.message);
    }
    button.disabled = false;
  }

  sayGap() {
    if (this.since === null || this.picture === null) return;
    const gap = this.picture.longestGap(this.since) / 1000;
    const words = gap < 0.1 ? "The picture has not stopped." : `The picture stopped for ${amount(gap, 2, "s")} at most, on this screen.`;
    setText(this.gap, words);
  }

  /** The weather, as the program tells it each second. */
  tell(text) {
    for (const button of byId("weather-buttons").children) {
      const isNow = button.dataset.weather === text;
      button.setAttribute("aria-pressed", String(isNow));
    }
    if (this.since === null) setText(this.now, `Now: ${text || "clear"}.`);
  }

  /** An event since the weather changed. */
  add(entry) {
    if (this.since === null || !TOLD.has(entry.event) || typeof entry.text !== "string") return;
    if (this.lines.children.length >= MOST_LINES) this.lines.firstChild.remove();
    this.lines.append(element("li", {}, element("time", { dateTime: entry.time }, timeOfDay(entry.time)), element("span", {}, entry.text)));
  }
}
