/**
 * The page: it listens to the program's events and hands them to its parts.
 */
import { isPermitted, permit, press } from "./actions.js";
import { Charts } from "./charts.js";
import { byId, setText } from "./dom.js";
import { Line } from "./line.js";
import { Peers } from "./peers.js";
import { Timeline } from "./timeline.js";
import { Viewer, whatIsMissing } from "./viewer.js";
import { Weather } from "./weather.js";

const ROLES = { host: "host", connect: "viewer", demo: "demo" };

const charts = new Charts();
const peers = new Peers((fingerprint) => charts.colourOf(fingerprint));
const timeline = new Timeline();
timeline.nameOf = (fingerprint) => {
  if (weather === null) return peers.nameOf(fingerprint);
  // Both ends of the demo tell here, each of the other.
  if (fingerprint === undefined) return null;
  return peers.has(fingerprint) ? "Viewer" : "Host";
};

/** What the role calls for, made once the program has said what it is. */
let viewer = null;
let weather = null;
let version = null;
/** Events that wait for the first status, which says who their peers are. */
let untold = null;

const line = new Line("/api/events");
line.addEventListener("message", ({ data }) => {
  const message = JSON.parse(data);
  ({ hello, status, event: happened })[message.type]?.(message);
});
line.addEventListener("wait", ({ seconds, sentence }) => {
  say(`${sentence ?? "The program does not answer."} Trying again in ${seconds} s.`, "bad");
  peers.show([]);
});

function say(text, mood) {
  byId("line").dataset.mood = mood;
  setText(byId("line"), text);
}

function hello(message) {
  permit(message);
  const wasThere = version !== null;
  say(wasThere ? "The program is back." : "Connected.", "good");
  if (wasThere && version !== message.version) location.reload();
  version = message.version;
  setText(byId("version"), `RootStream ${version}.`);
  setText(byId("role"), ROLES[message.role] ?? message.role);
  document.title = `RootStream ${ROLES[message.role] ?? ""}`;
  byId("lead").dataset.role = message.role;
  // Without a picture the peers come first.
  if (message.role === "host") byId("peers-part").after(byId("lead"));
  byId("record").hidden = !isPermitted("record");
  if (message.role !== "host" && viewer === null) showViewer();
  viewer?.allowInput(message.input);
  if (message.weather) {
    weather ??= new Weather(viewer?.picture ?? null);
    byId("weather").hidden = false;
  }
  untold = [...message.history];
}

function showViewer() {
  byId("viewer").hidden = false;
  const missing = whatIsMissing();
  if (missing === null) {
    viewer = new Viewer();
    // For tests, and for the curious in their console.
    globalThis.rootstream = viewer;
    return;
  }
  byId("stage").hidden = true;
  byId("viewer-tools").hidden = true;
  setText(byId("unable"), missing);
  byId("unable").hidden = false;
}

function status(message) {
  if (message.role === "demo") for (const peer of message.peers) peer.name ||= "demo host";
  peers.show(message.peers);
  if (untold !== null) timeline.restart(untold);
  untold = null;
  charts.add(message.peers);
  viewer?.tell(message.peers.find((peer) => typeof peer.latency_ms === "number") ?? message.peers[0] ?? null);
  weather?.tell(message.weather);
  const isRecording = typeof message.recording === "string";
  byId("record-stop").disabled = !isRecording;
  setText(byId("recording"), isRecording ? `Recording into ${message.recording}` : "");
}

function happened(entry) {
  // The entry's own `event` says what; the message's `type` is what it came as.
  if (entry.event === "path") charts.mark(new Date(entry.time));
  if (untold !== null) {
    untold.push(entry);
    return;
  }
  timeline.add(entry);
  // The viewer's end tells what became of the picture.
  if (peers.has(entry.peer)) weather?.add(entry);
}

byId("record").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const file = byId("record-file").value;
  press(submit.submitter, "record", { action: "start", file }, (answer) => `Recording into ${answer.file}.`);
});
byId("record-stop").addEventListener("click", ({ currentTarget: button }) => {
  press(button, "record", { action: "stop", file: null }, () => "The recording has ended.");
});
