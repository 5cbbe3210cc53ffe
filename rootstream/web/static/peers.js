/**
 * The peers: how each one is reached, how well, and what can be asked of it.
 */
import { isPermitted, press } from "./actions.js";
import { amount, byId, duration, element, percent, setText } from "./dom.js";

/** Cards on the page; `rootstream status` shows everybody. */
const MOST_CARDS = 50;
const FIELDS = [
  ["Round trip", (peer) => amount(peer.rtt_ms, 1, "ms")],
  ["Jitter", (peer) => amount(peer.jitter_ms, 1, "ms")],
  ["Loss", (peer) => percent(peer.loss)],
  ["Rate", (peer) => amount(peer.mbit_s, 2, "Mbit/s")],
  ["Frames", (peer) => amount(peer.fps, 0, "fps")],
  ["Latency", (peer) => amount(peer.latency_ms, 1, "ms")],
  ["Frames lost", (peer) => (typeof peer.lost === "number" ? String(peer.lost) : "–")],
];

export class Peers {
  constructor(colourOf) {
    this.colourOf = colourOf;
    this.cards = new Map();
    this.names = new Map();
  }

  /** The name to tell a peer by, where there are several; else null. */
  nameOf(fingerprint) {
    return this.names.size > 1 ? (this.names.get(fingerprint) ?? null) : null;
  }

  has(fingerprint) {
    return this.names.has(fingerprint);
  }

  /** Show these peers.  Cards stay what they are, so that the focus does too. */
  show(everybody) {
    const peers = everybody.slice(0, MOST_CARDS);
    this.names = new Map(peers.map((peer) => [peer.fingerprint, peer.name || peer.fingerprint]));
    for (const [fingerprint, card] of this.cards) {
      if (this.names.has(fingerprint)) continue;
      card.node.remove();
      this.cards.delete(fingerprint);
    }
    for (const peer of peers) {
      if (!this.cards.has(peer.fingerprint)) {
        const card = new Card(peer, this.colourOf(peer.fingerprint));
        this.cards.set(peer.fingerprint, card);
        byId("peers").append(card.node);
      }
      this.cards.get(peer.fingerprint).show(peer);
    }
    const more = everybody.length - peers.length;
    byId("nobody").hidden = peers.length > 0 && more === 0;
    setText(byId("nobody"), more === 0 ? "Nobody is here yet." : `And ${more} more; rootstream status shows all.`);
  }
}

class Card {
  constructor(peer, colour) {
    const id = `peer-${peer.fingerprint}`.replaceAll(/[^\w-]/g, "-");
    this.name = element("h3", { id });
    this.state = element("span", { className: "state" });
    this.transport = element("span", { className: "transport" });
    this.address = element("span", { className: "address" });
    this.cause = element("p", { className: "cause" });
    this.values = FIELDS.map(() => element("dd"));
    this.node = element(
      "li",
      { className: "card peer", "aria-labelledby": id },
      element("div", { className: "who" }, element("span", { className: `swatch ${colour}` }), this.name, this.state),
      element("p", { className: "path" }, this.transport, " ", this.address),
      this.cause,
      element("dl", { className: "fields" }, ...FIELDS.map(([title], place) => element("div", {}, element("dt", {}, title), this.values[place]))),
      this.buttons(peer),
    );
  }

  buttons({ fingerprint, name }) {
    const who = name || fingerprint;
    const control = (label, action, words) => {
      const button = element("button", { type: "button", disabled: !isPermitted("control") }, label);
      button.onclick = () => press(button, "control", { peer: fingerprint, action, value: null }, () => words);
      return button;
    };
    const rate = element("input", { type: "number", name: "rate", min: "0.5", max: "100", step: "0.5", value: "8", required: true, "aria-label": `Bitrate for ${who}, Mbit/s` });
    const set = element("button", { type: "submit", disabled: !isPermitted("control") }, "Set Mbit/s");
    const form = element("form", { className: "rate" }, rate, set);
    form.onsubmit = (event) => {
      event.preventDefault();
      const value = Math.round(rate.valueAsNumber * 1e6);
      press(set, "control", { peer: fingerprint, action: "bitrate", value }, () => `Asked for ${rate.value} Mbit/s.`);
    };
    const drill = element("button", { type: "button", disabled: !isPermitted("drill") }, "Drill");
    drill.title = "Rehearse a failure: the path in use counts as dead for three seconds";
    drill.onclick = () => press(drill, "drill", { peer: fingerprint }, drillWords);
    return element(
      "div",
      { className: "tools", role: "group", "aria-label": `Ask ${who}` },
      drill,
      control("Pause", "pause", `Asked ${who} to pause.`),
      control("Resume", "resume", `Asked ${who} to go on.`),
      control("Key frame", "keyframe", `Asked ${who} for a key frame.`),
      form,
      control("Disconnect", "disconnect", `${who} is disconnected.`),
    );
  }

  show(peer) {
    setText(this.name, peer.name || peer.fingerprint);
    setText(this.state, peer.state.toLowerCase().replaceAll("_", " "));
    this.state.dataset.state = peer.state;
    this.transport.hidden = !peer.transport;
    setText(this.transport, (peer.transport ?? "").toUpperCase());
    this.transport.dataset.transport = peer.transport ?? "";
    setText(this.address, peer.address ?? "no path");
    setText(this.cause, peer.cause ?? "");
    FIELDS.forEach(([, words], place) => setText(this.values[place], words(peer)));
    this.node.title = `${peer.fingerprint}, for ${duration(peer.since)}`;
  }
}

/** What a drill showed, or an Error that says why there was none. */
function drillWords({ peers: [told] }) {
  if (told === undefined) throw new Error("That peer is not connected.");
  if (told.error !== undefined) throw new Error(told.error);
  return `Drill: ${told.text}.`;
}
