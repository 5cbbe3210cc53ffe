/**
 * The weather of the demo: what the network between its two ends is made to do, and
 * what came of it.
 */
import { ask } from "./actions.js";
import { amount, byId, element, setText, timeOfDay } from "./dom.js";

/** What a button says, what it asks for, what undoes that, and the words of its weather. */
const WEATHERS = [
  ["Block UDP", "block udp", "unblock udp", "UDP blocked"],
  ["Cut for 5 s", "cut 5s", null, "network cut"],
  ["5 % loss", "loss 5%", "loss 0%", "UDP loss"],
  ["100 ms delay", "delay 100ms", "delay 0ms", "delay"],
  ["Host offline", "host offline", "host online", "host offline"],
  ["Clear", "clear", null, "clear"],
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
    this.buttons = WEATHERS.map(([label, text, undo, words]) => {
      const button = element("button", { type: "button" }, label);
      button.onclick = () => {
        const isOn = button.getAttribute("aria-pressed") === "true";
        this.make(button, isOn && undo !== null ? undo : text);
      };
      byId("weather-buttons").append(button);
      return [button, words];
    });
    setInterval(() => this.sayGap(), 200);
  }

  async make(button, text) {
    button.disabled = true;
    this.since = performance.now();
    this.lines.replaceChildren();
    try {
      const answer = await ask("weather", { text });
      setText(this.now, `${timeOfDay(new Date())} The weather is: ${answer.weather}.`);
    } catch (error) {
      setText(this.now, error.message);
    }
    button.disabled = false;
  }

  sayGap() {
    if (this.since === null || this.picture === null) return;
    const gap = this.picture.longestGap(this.since) / 1000;
    const words = gap < 0.1 ? "The picture has not stopped." : `The picture stopped for ${amount(gap, 2, "s")} at most, on this screen.`;
    this.gap.dataset.mood = gap < 1 ? "good" : "wait";
    setText(this.gap, words);
  }

  /** The weather, as the program tells it each second. */
  tell(text) {
    for (const [button, words] of this.buttons) {
      button.setAttribute("aria-pressed", String(text?.startsWith(words) || text?.includes(`, ${words}`) || false));
    }
    if (this.since === null) setText(this.now, `The weather is: ${text}.`);
  }

  /** An event since the weather changed. */
  add(entry) {
    if (this.since === null || !TOLD.has(entry.event) || typeof entry.text !== "string") return;
    if (this.lines.children.length >= MOST_LINES) this.lines.firstChild.remove();
    this.lines.append(element("li", {}, element("time", { dateTime: entry.time }, timeOfDay(entry.time)), element("span", {}, entry.text)));
  }
}
