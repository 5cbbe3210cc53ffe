/**
 * Decodes Opus and plays it through an AudioWorklet, and knows how far it has come.
 *
 * Browsers let a page be heard only after a click, so it is off until then.
 */

/** Older than this, and what the worklet said last says nothing of now. */
const FRESH = 0.25;
const MOST_UNDECODED = 12;
const RATE = 48_000;
/** A packet's microseconds. */
const PACKET = 20_000;

export class Sound {
  constructor() {
    this.context = null;
    this.node = null;
    this.decoder = null;
    this.last = null;
    this.expected = -Infinity;
  }

  get isOn() {
    return this.context !== null && this.context.state === "running";
  }

  /** Begin to play; call it for a click. */
  async turnOn() {
    if (this.context === null) {
      const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      this.context = context;
      await context.audioWorklet.addModule("/static/sound-worklet.js");
      this.node = new AudioWorkletNode(context, "rootstream-sound", { numberOfInputs: 0, outputChannelCount: [2] });
      this.node.port.onmessage = ({ data }) => {
        this.last = data;
      };
      this.node.connect(context.destination);
    }
    await this.context.resume();
  }

  async turnOff() {
    if (this.context !== null) await this.context.suspend();
    this.last = null;
  }

  /** One Opus packet, as it came. */
  take(frame) {
    if (!this.isOn || this.node === null) return;
    const isGap = Math.abs(frame.timestamp - this.expected) > PACKET / 2;
    this.expected = frame.timestamp + PACKET;
    // Decoders count the time on by themselves; after a gap it would be wrong.
    if (this.decoder === null || this.decoder.state === "closed" || isGap) this.restart(frame);
    if (this.decoder.decodeQueueSize > MOST_UNDECODED) return;
    this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: frame.timestamp, data: frame.payload }));
  }

  restart({ sampleRate, channels }) {
    if (this.decoder !== null && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = new AudioDecoder({
      output: (data) => this.decoded(data),
      // The next packet is given to a new decoder.
      error: () => {},
    });
    this.decoder.configure({ codec: "opus", sampleRate, numberOfChannels: channels });
  }

  decoded(data) {
    const channels = [0, Math.min(1, data.numberOfChannels - 1)].map((planeIndex) => {
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex, format: "f32-planar" });
      return samples;
    });
    const { timestamp } = data;
    data.close();
    this.node.port.postMessage({ channels, timestamp }, channels.map((samples) => samples.buffer));
  }

  /** The host's time, in microseconds, of what is heard now; null when nothing is. */
  heard() {
    if (!this.isOn || this.last === null || this.last.timestamp === null) return null;
    const passed = this.context.currentTime - this.last.at;
    if (passed > FRESH) return null;
    return this.last.timestamp + (passed - (this.context.outputLatency || 0)) * 1e6;
  }
}
