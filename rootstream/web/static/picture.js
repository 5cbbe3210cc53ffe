/**
 * Decodes video and draws it to the canvas: at once, or in step with the sound.
 *
 * A frame is due when the sound has come as far, less `LEAD`.  Of frames that are due
 * together only the last is drawn; the others are late, and skipped.
 */

/** Microseconds that the picture may be ahead of the sound: half of what is noticed. */
const LEAD = 20_000;
/** Further ahead than this, and the clock of the sound is not to be believed. */
const FAR = 400_000;
const MOST_UNDECODED = 12;
const MOST_WAITING = 8;
/** Milliseconds between two requests for a key frame. */
const ASK_AGAIN = 500;
const MOST_TIMES = 256;

export class Picture {
  /** `sound` has `heard()`, the time it has come to; `ask` asks for a key frame. */
  constructor(canvas, sound, ask) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d", { alpha: false });
    this.sound = sound;
    this.ask = ask;
    this.askedAt = -Infinity;
    this.codec = null;
    this.decoder = null;
    this.needsKey = true;
    this.waiting = [];
    this.captured = new Map();
    this.drawn = 0;
    this.skipped = 0;
    this.latencies = [];
    this.skews = [];
    this.lastDrawnAt = null;
    this.gaps = [];
    const step = () => {
      this.present();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** The stream's codec, from now on. */
  configure(codec) {
    this.codec = codec;
    this.restart();
  }

  /** A fresh decoder, which begins at a key frame. */
  restart() {
    if (this.decoder !== null && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = new VideoDecoder({
      output: (frame) => this.decoded(frame),
      error: () => {
        this.restart();
        this.wantKey();
      },
    });
    this.decoder.configure({ codec: this.codec, optimizeForLatency: true });
    this.needsKey = true;
    this.captured.clear();
  }

  wantKey() {
    const now = performance.now();
    if (now - this.askedAt < ASK_AGAIN) return;
    this.askedAt = now;
    this.ask();
  }

  /** One access unit, as it came. */
  take(frame) {
    const now = performance.now();
    if (this.decoder === null) return;
    if (this.decoder.decodeQueueSize > MOST_UNDECODED) {
      this.skipped += this.decoder.decodeQueueSize;
      this.restart();
    }
    if (this.needsKey && !frame.isKey) {
      this.skipped++;
      this.wantKey();
      return;
    }
    this.needsKey = false;
    if (frame.age !== null) this.captured.set(frame.timestamp, now - frame.age);
    if (this.captured.size > MOST_TIMES) this.captured.delete(this.captured.keys().next().value);
    this.decoder.decode(
      new EncodedVideoChunk({ type: frame.isKey ? "key" : "delta", timestamp: frame.timestamp, data: frame.payload }),
    );
  }

  decoded(frame) {
    this.waiting.push(frame);
    this.present();
    // A clock that would hold back more than this is no help: on with the picture.
    if (this.waiting.length > MOST_WAITING) this.draw(this.waiting.shift(), null);
  }

  skip() {
    this.waiting.shift().close();
    this.skipped++;
  }

  /** Draw the last frame that is due. */
  present() {
    const heard = this.sound.heard();
    const isDue = (frame) => heard === null || frame.timestamp <= heard + LEAD || frame.timestamp > heard + FAR;
    while (this.waiting.length > 1 && isDue(this.waiting[1])) this.skip();
    if (this.waiting.length > 0 && isDue(this.waiting[0])) this.draw(this.waiting.shift(), heard);
  }

  draw(frame, heard) {
    const { canvas } = this;
    if (canvas.width !== frame.displayWidth || canvas.height !== frame.displayHeight) {
      canvas.width = frame.displayWidth;
      canvas.height = frame.displayHeight;
    }
    this.pen.drawImage(frame, 0, 0);
    const { timestamp } = frame;
    frame.close();
    const now = performance.now();
    const capturedAt = this.captured.get(timestamp);
    if (capturedAt !== undefined) this.note(this.latencies, now - capturedAt);
    if (heard !== null) this.note(this.skews, (timestamp - heard) / 1000);
    if (this.lastDrawnAt !== null) this.gaps.push([now, now - this.lastDrawnAt]);
    if (this.gaps.length > 60 * 60) this.gaps.shift();
    this.lastDrawnAt = now;
    this.drawn++;
    canvas.dispatchEvent(new CustomEvent("drawn", { detail: { timestamp, heard } }));
  }

  note(values, value) {
    values.push(value);
    if (values.length > MOST_TIMES) values.shift();
  }

  /** The longest time without a new picture since that moment, in milliseconds. */
  longestGap(since) {
    let longest = this.lastDrawnAt === null ? 0 : performance.now() - Math.max(since, this.lastDrawnAt);
    for (const [at, gap] of this.gaps) {
      if (at > since) longest = Math.max(longest, Math.min(gap, at - since));
    }
    return longest;
  }
}

/** The middle one of some numbers, or null. */
export function median(values) {
  return values.length === 0 ? null : [...values].sort((a, b) => a - b)[values.length >> 1];
}
