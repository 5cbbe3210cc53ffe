/**
 * A WebSocket to the program that comes back by itself, and says how it is.
 */

const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;
/** A connection that lasted this long was a good one: waits begin anew. */
const GOOD_AFTER = 3000;

export class Line extends EventTarget {
  /**
   * Events: `open`; `message` with `data`; `wait` with `seconds` and `sentence`, what
   * the program gave as a reason, where it answers at all.
   */
  constructor(path) {
    super();
    this.url = new URL(path, location.href);
    this.url.protocol = this.url.protocol === "https:" ? "wss:" : "ws:";
    this.wait = FIRST_WAIT;
    this.socket = null;
    this.connect();
  }

  connect() {
    const socket = new WebSocket(this.url);
    let openedAt = Infinity;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      openedAt = performance.now();
      this.dispatchEvent(new Event("open"));
    };
    socket.onmessage = ({ data }) => this.dispatchEvent(Object.assign(new Event("message"), { data }));
    socket.onclose = () => this.lost(performance.now() - openedAt >= GOOD_AFTER);
    this.socket = socket;
  }

  async lost(wasGood) {
    this.socket = null;
    if (wasGood) this.wait = FIRST_WAIT;
    const milliseconds = this.wait;
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    setTimeout(() => this.connect(), milliseconds);
    // A script is not told why a WebSocket was refused; a plain request is.
    const sentence = await refusal();
    if (this.socket === null) {
      this.dispatchEvent(Object.assign(new Event("wait"), { seconds: milliseconds / 1000, sentence }));
    }
  }

  get isOpen() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  /** Send a message, if there is anybody to take it. */
  send(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
    return this.isOpen;
  }
}

/** The sentence of a program that answers, and refuses; null when none does. */
async function refusal() {
  try {
    const answer = await fetch("/api/status", { signal: AbortSignal.timeout(2000) });
    return answer.ok ? null : await sentenceOf(answer);
  } catch {
    return null;
  }
}

/** What an answer that is a refusal says. */
export async function sentenceOf(answer) {
  const text = (await answer.text()).slice(0, 500);
  try {
    return String(JSON.parse(text).error);
  } catch {
    return text.trim() || `The program answered ${answer.status}.`;
  }
}
