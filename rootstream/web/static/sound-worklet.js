/**
 * The jitter buffer of the sound, on the thread that plays it.
 *
 * What counts is how little it holds at the worst moment of a second: less than
 * nothing is a dry run, after which that margin grows; more than the margin only
 * makes the sound late, and is dropped.
 */

const LEAST_MARGIN = 0.01;
const MOST_MARGIN = 0.06;
const MARGIN_STEP = 0.01;
/** It begins to play with this much more than the margin: packets come in gusts. */
const GUST = 0.03;
/** Seconds without a dry run after which the margin comes down again. */
const CALM = 20;
/** Seconds of which the worst moment is looked for. */
const WINDOW = 1;
/** Held beyond the margin: what is past this is dropped at once. */
const SLACK = 0.2;
/** Blocks of 128 samples between two reports: 21 ms. */
const REPORT_EVERY = 8;

class SoundPlayer extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunks = [];
    this.offset = 0;
    this.held = 0;
    this.margin = LEAST_MARGIN;
    this.isPlaying = false;
    this.calmSince = 0;
    this.windowSince = 0;
    this.lowest = Infinity;
    this.blocks = 0;
    this.played = 0;
    this.dry = 0;
    this.dropped = 0;
    this.level = 0;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(chunk) {
    this.chunks.push(chunk);
    this.held += chunk.channels[0].length;
    const most = (this.margin + SLACK) * sampleRate;
    if (this.held > most) this.drop(this.held - (this.margin + GUST) * sampleRate);
  }

  /** Go past so many samples, playing them or not; `each` is given them in pieces. */
  pass(count, each) {
    for (let done = 0; done < count; ) {
      const { channels } = this.chunks[0];
      const part = Math.min(count - done, channels[0].length - this.offset);
      each?.(channels, this.offset, part, done);
      done += part;
      this.offset += part;
      if (this.offset === channels[0].length) {
        this.chunks.shift();
        this.offset = 0;
      }
    }
    this.held -= count;
  }

  drop(samples) {
    const count = Math.floor(samples);
    this.pass(count);
    this.dropped += count;
  }

  process(inputs, [output]) {
    const size = output[0].length;
    const wasPlaying = this.isPlaying;
    const enough = wasPlaying ? size : (this.margin + GUST) * sampleRate;
    this.isPlaying = this.held >= enough;
    if (this.isPlaying) this.play(output, size);
    else if (wasPlaying) this.ranDry();
    if (currentTime - this.windowSince > WINDOW) this.trim();
    if (++this.blocks % REPORT_EVERY === 0 || wasPlaying !== this.isPlaying) this.report(size);
    return true;
  }

  play(output, size) {
    this.pass(size, (channels, from, count, to) => {
      output.forEach((side, place) => {
        side.set(channels[Math.min(place, 1)].subarray(from, from + count), to);
      });
    });
    this.played += size;
    this.lowest = Math.min(this.lowest, this.held);
    for (const sample of output[0]) this.level = Math.max(this.level * 0.9999, Math.abs(sample));
  }

  ranDry() {
    this.dry++;
    this.lowest = 0;
    this.calmSince = currentTime;
    this.margin = Math.min(MOST_MARGIN, this.margin + MARGIN_STEP);
  }

  /** Once a second: drop what was never needed in it. */
  trim() {
    const excess = this.lowest - (this.margin + MARGIN_STEP) * sampleRate;
    if (this.isPlaying && excess > 0 && excess <= this.held) this.drop(excess);
    this.windowSince = currentTime;
    this.lowest = Infinity;
    if (currentTime - this.calmSince > CALM) {
      this.calmSince = currentTime;
      this.margin = Math.max(LEAST_MARGIN, this.margin - MARGIN_STEP);
    }
  }

  /** Where we are: the host's time of the sample that comes next. */
  report(size) {
    const [chunk] = this.chunks;
    const isKnown = this.isPlaying && chunk !== undefined;
    this.port.postMessage({
      at: currentTime + size / sampleRate,
      timestamp: isKnown ? chunk.timestamp + (this.offset / sampleRate) * 1e6 : null,
      held: this.held / sampleRate,
      margin: this.margin,
      played: this.played / sampleRate,
      dropped: this.dropped / sampleRate,
      dry: this.dry,
      level: this.level,
    });
  }
}

registerProcessor("rootstream-sound", SoundPlayer);
