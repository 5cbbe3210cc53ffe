/**
 * The charts of the dashboard: one for each measurement, all with the same colours.
 */
import { Chart } from "./chart.js";
import { amount, byId, element, percent, setText } from "./dom.js";

const MEASUREMENTS = [
  { field: "rtt_ms", title: "Round trip, ms", least: 10, words: (value) => amount(value, 1, "ms") },
  { field: "latency_ms", title: "Capture to receipt, ms", least: 10, words: (value) => amount(value, 1, "ms") },
  { field: "loss", title: "Loss, %", least: 1, scale: 100, words: percent },
  { field: "mbit_s", title: "Rate, Mbit/s", least: 1, words: (value) => amount(value, 2, "Mbit/s") },
  { field: "fps", title: "Frames per second", least: 10, words: (value) => amount(value, 0, "fps") },
  { field: "jitter_ms", title: "Jitter, ms", least: 5, words: (value) => amount(value, 1, "ms") },
];
const COLOURS = 6;
/** More lines than this tell nobody anything. */
const MOST_LINES = 12;
const MOST_MARKS = 200;

export class Charts {
  constructor() {
    this.colours = new Map();
    this.marks = [];
    this.views = MEASUREMENTS.map((measurement) => {
      const canvas = element("canvas", { role: "img", "aria-label": measurement.title });
      const now = element("span", { className: "now" });
      byId("charts").append(
        element("figure", {}, element("figcaption", {}, element("span", {}, measurement.title), now), canvas),
      );
      return { ...measurement, canvas, now, chart: new Chart(canvas, measurement.least) };
    });
    const redraw = () => this.draw();
    new ResizeObserver(redraw).observe(byId("charts"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  /** A moment to remember: the path changed. */
  mark(date) {
    this.marks.push(date.getTime() / 1000);
    if (this.marks.length > MOST_MARKS) this.marks.shift();
  }

  /** The colour of a peer, given at its first appearance. */
  colourOf(fingerprint) {
    if (!this.colours.has(fingerprint)) {
      this.colours.set(fingerprint, `series-${(this.colours.size % COLOURS) + 1}`);
    }
    return this.colours.get(fingerprint);
  }

  /** Note the measurements of all peers, once a second. */
  add(everybody) {
    const peers = everybody.slice(0, MOST_LINES);
    const now = Date.now() / 1000;
    for (const { field, scale = 1, chart, canvas, now: words, title, words: say } of this.views) {
      for (const peer of peers) {
        const value = peer[field];
        chart.history.add(peer.fingerprint, now, typeof value === "number" ? value * scale : null);
      }
      const text = peers.map((peer) => say(peer[field])).filter((one) => one !== "–").slice(0, 3).join(" · ");
      setText(words, text || "–");
      canvas.setAttribute("aria-label", `${title}, now ${text || "unknown"}; at most ${chart.history.largest.toFixed(1)} in ten minutes`);
    }
    const legend = byId("legend");
    const wanted = peers.map((peer) => `${peer.fingerprint} ${peer.name}`).join("\n");
    if (legend.dataset.shown !== wanted) {
      legend.dataset.shown = wanted;
      legend.replaceChildren(
        ...peers.map((peer) =>
          element("li", {}, element("span", { className: `swatch ${this.colourOf(peer.fingerprint)}` }), peer.name || peer.fingerprint),
        ),
      );
    }
    this.draw();
  }

  draw() {
    const now = Date.now() / 1000;
    for (const { chart } of this.views) {
      chart.draw(now, (peer) => this.colourOf(peer), this.marks);
    }
  }
}
