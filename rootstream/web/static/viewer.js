/**
 * The viewer: the stream's WebSocket, the picture, the sound, the numbers over the
 * picture, and keyboard and mouse.
 */
import { amount, byId, element, percent, setText } from "./dom.js";
import { Input } from "./input.js";
import { Line } from "./line.js";
import { age, readMark } from "./mark.js";
import { median, Picture } from "./picture.js";
import { Sound } from "./sound.js";
import { readFrame, VIDEO } from "./stream.js";

/** Milliseconds without a new picture that are worth a word. */
const STOPPED = 500;

/** What the browser lacks, in words; null when it can show the stream. */
export function whatIsMissing() {
  if (!window.isSecureContext) {
    return "Browsers decode video only on pages that came over HTTPS or from this machine. Open the page by 127.0.0.1, for example through an SSH tunnel; the dashboard below works here.";
  }
  if (typeof VideoDecoder === "undefined" || typeof AudioDecoder === "undefined") {
    return "This browser has no WebCodecs, so it cannot show the picture. Chromium, Edge, Safari from 26 and Firefox from 130 can; the dashboard below works here.";
  }
  return null;
}

export class Viewer {
  constructor() {
    this.canvas = byId("screen");
    this.sound = new Sound();
    this.line = new Line("/api/stream");
    this.picture = new Picture(this.canvas, this.sound, () => this.line.send({ type: "keyframe" }));
    this.input = new Input(this.canvas, (events) => this.line.send({ type: "input", events }));
    this.isImpaired = false;
    this.isPaused = false;
    this.peer = null;
    this.counts = { at: performance.now(), drawn: 0, skipped: 0 };
    this.numbers = new Map();
    this.line.addEventListener("message", ({ data }) => this.received(data));
    this.line.addEventListener("wait", () => this.input.end());
    this.input.addEventListener("change", () => this.sayCapture());
    byId("sound").onclick = () => this.toggleSound();
    byId("full").onclick = () => this.toggleFull();
    byId("overlay").onclick = ({ currentTarget: button }) => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isShown));
      byId("numbers").hidden = !isShown;
    };
    setInterval(() => this.everySecond(), 1000);
    setInterval(() => this.sayTrouble(), 100);
  }

  received(data) {
    if (typeof data !== "string") {
      const frame = readFrame(data);
      if (frame.kind === VIDEO) this.picture.take(frame);
      else this.sound.take(frame);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "config") this.configure(message.codec);
    else if (message.type === "impaired" || message.type === "recovered") {
      this.isImpaired = message.type === "impaired";
      if (this.isImpaired) this.input.release();
    }
  }

  async configure(codec) {
    this.picture.configure(codec);
    const { supported } = await VideoDecoder.isConfigSupported({ codec }).catch(() => ({ supported: false }));
    if (!supported) this.unable(`This browser cannot decode ${codec}; the dashboard below works here.`);
  }

  /** Say that there will be no picture. */
  unable(text) {
    setText(byId("unable"), text);
    byId("unable").hidden = false;
  }

  allowInput(isAllowed) {
    this.input.isAllowed = isAllowed;
    this.sayCapture();
  }

  sayCapture() {
    const { isAllowed, isActive } = this.input;
    byId("stage").classList.toggle("captured", isActive);
    setText(
      byId("capture"),
      isActive ? "Keyboard and mouse go to the host. Esc leaves." : isAllowed ? "Click the picture, or press Enter on it, to control the host." : "",
    );
  }

  async toggleSound() {
    const button = byId("sound");
    try {
      await (this.sound.isOn ? this.sound.turnOff() : this.sound.turnOn());
    } catch {
      this.unable("This browser would not play sound.");
    }
    button.setAttribute("aria-pressed", String(this.sound.isOn));
    setText(button, this.sound.isOn ? "Sound off" : "Sound on");
  }

  async toggleFull() {
    if (document.fullscreenElement !== null) await document.exitFullscreen();
    else await byId("stage").requestFullscreen().catch(() => {});
  }

  /** The peer that the picture comes from, as the program last told. */
  tell(peer) {
    this.peer = peer;
  }

  everySecond() {
    const now = performance.now();
    const { drawn, skipped } = this.picture;
    const fps = ((drawn - this.counts.drawn) * 1000) / (now - this.counts.at);
    const dropped = skipped - this.counts.skipped;
    const latency = median(this.picture.latencies.splice(0));
    const skew = median(this.picture.skews.splice(0));
    this.counts = { at: now, drawn, skipped };
    this.line.send({ type: "shown", fps: Math.round(fps * 10) / 10, latency_ms: latency, dropped });
    const mark = drawn > 0 ? readMark(this.canvas) : null;
    const { peer } = this;
    this.number("Path", peer?.transport ? peer.transport.toUpperCase() : "none");
    this.number("Size", `${this.canvas.width}×${this.canvas.height}`);
    this.number("Shown", amount(fps, 0, "fps"));
    this.number("Rate", amount(peer?.mbit_s, 2, "Mbit/s"));
    this.number("Round trip", amount(peer?.rtt_ms, 1, "ms"));
    this.number("Loss", percent(peer?.loss));
    this.number("Screen latency", amount(latency, 0, "ms"));
    const silence = this.sound.isOn ? "waiting" : "off";
    this.number("Sound", skew === null ? silence : `${amount(Math.abs(skew), 0, "ms")} ${skew < 0 ? "ahead" : "behind"}`);
    if (mark === null) return;
    this.number("Frame", String(mark.number));
    this.number("Its age", amount(age(mark.millis), 0, "ms"));
  }

  number(title, text) {
    if (!this.numbers.has(title)) {
      const value = element("dd");
      this.numbers.set(title, value);
      byId("numbers").append(element("div", {}, element("dt", {}, title), value));
    }
    setText(this.numbers.get(title), text);
  }

  sayTrouble() {
    const { lastDrawnAt } = this.picture;
    const gap = lastDrawnAt === null ? 0 : performance.now() - lastDrawnAt;
    let text = "";
    if (!this.line.isOpen) text = "The program does not answer.";
    else if (lastDrawnAt === null) text = "Waiting for the first picture.";
    else if (gap > STOPPED) {
      const why = this.isImpaired ? "The host is not heard; it is looked for on all ways." : "No new picture.";
      text = `${why} Stopped for ${Math.floor(gap / 1000)} s.`;
    }
    setText(byId("trouble"), text);
  }
}
