/**
 * What happened, in the program's own words, the latest first.
 */
import { byId, element, setText, timeOfDay } from "./dom.js";

const MOST = 200;
const BAD = new Set(["suspect", "impaired", "attempt", "error", "trouble"]);
const GOOD = new Set(["recovered", "summary"]);

/** Whether an event is bad news, good news or neither. */
export function moodOf(entry) {
  if (entry.event === "state") {
    return { CONNECTED: "good", DISCONNECTED: "bad", FAILED: "bad" }[entry.to] ?? "plain";
  }
  return BAD.has(entry.event) ? "bad" : GOOD.has(entry.event) ? "good" : "plain";
}

export class Timeline {
  constructor() {
    this.list = byId("timeline");
    this.nameOf = () => null;
  }

  /** Begin anew, with what happened before the page came. */
  restart(entries) {
    this.list.replaceChildren();
    for (const entry of entries) this.add(entry, true);
  }

  /** One event; old ones are shown, but not announced. */
  add(entry, isOld = false) {
    if (typeof entry.text !== "string" || entry.event === "stats") return;
    const at = new Date(entry.time);
    const who = this.nameOf(entry.peer);
    this.list.prepend(
      element(
        "li",
        { "data-event": entry.event, "data-mood": moodOf(entry) },
        element("time", { dateTime: entry.time, textContent: timeOfDay(at) }),
        element("span", {}, ...(who ? [element("b", {}, who), " "] : []), entry.text),
      ),
    );
    while (this.list.children.length > MOST) this.list.lastChild.remove();
    if (!isOld) setText(byId("latest"), entry.text);
  }
}
