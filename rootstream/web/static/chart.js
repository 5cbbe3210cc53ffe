/**
 * A line chart of up to the last ten minutes on a canvas, a line for each peer.
 */

const MOST_MINUTES = 10;
const SPAN = MOST_MINUTES * 60;
const LEFT = 44;
const BOTTOM = 20;
const TOP = 8;
const RIGHT = 6;
const GRID_LINES = 3;

/** The colour of that name in the style sheet. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

/** The smallest of 1, 2, 5, 10, 20 ... that is no less. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}

/** The values of one measurement, by peer, as old as the chart is wide. */
export class History {
  constructor() {
    this.lines = new Map();
  }

  /** Note a value, or null where there is none: the line is broken there. */
  add(peer, seconds, value) {
    if (!this.lines.has(peer)) this.lines.set(peer, []);
    this.lines.get(peer).push([seconds, value]);
  }

  /** Forget what is too old, and peers of whom nothing is left. */
  trim(now) {
    for (const [peer, points] of this.lines) {
      const first = points.findIndex(([seconds]) => seconds >= now - SPAN);
      points.splice(0, first < 0 ? points.length : first);
      if (points.length === 0) this.lines.delete(peer);
    }
  }

  /** How many minutes there are to show. */
  minutes(now) {
    const first = Math.min(now, ...[...this.lines.values()].map((points) => points[0][0]));
    return Math.min(MOST_MINUTES, Math.max(1, Math.ceil((now - first) / 60)));
  }

  get largest() {
    let largest = 0;
    for (const points of this.lines.values()) {
      for (const [, value] of points) largest = Math.max(largest, value ?? 0);
    }
    return largest;
  }
}

export class Chart {
  /** `least`: the smallest value that the top of the chart stands for. */
  constructor(canvas, least) {
    this.canvas = canvas;
    this.least = least;
    this.history = new History();
  }

  /** Draw, at `now` seconds; `colourOf(peer)` names a colour, `marks` are moments. */
  draw(now, colourOf, marks) {
    const ratio = devicePixelRatio;
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    if (width === 0) return;
    this.history.trim(now);
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const minutes = this.history.minutes(now);
    const span = minutes * 60;
    const top = roundUp(Math.max(this.history.largest, this.least));
    const x = (seconds) => LEFT + (1 - (now - seconds) / span) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);
    this.grid(pen, width, height, top, y);
    pen.textAlign = "left";
    pen.fillText(`${minutes} min ago`, LEFT, height - 4);
    pen.setLineDash([2, 3]);
    pen.strokeStyle = colour("muted");
    for (const seconds of marks) {
      if (seconds > now - span) this.stroke(pen, [[x(seconds), TOP], [x(seconds), height - BOTTOM]]);
    }
    pen.setLineDash([]);
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    for (const [peer, points] of this.history.lines) {
      pen.strokeStyle = colour(colourOf(peer));
      let part = [];
      for (const [seconds, value] of [...points, [0, null]]) {
        if (value !== null) part.push([x(seconds), y(value)]);
        else {
          this.stroke(pen, part);
          part = [];
        }
      }
    }
  }

  grid(pen, width, height, top, y) {
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    for (let line = 0; line < GRID_LINES; line++) {
      const value = (top * line) / (GRID_LINES - 1);
      const level = Math.round(y(value)) + 0.5;
      pen.strokeStyle = colour("rule");
      this.stroke(pen, [[LEFT, level], [width - RIGHT, level]]);
      pen.fillStyle = colour("muted");
      pen.textAlign = "right";
      pen.fillText(String(+value.toPrecision(2)), LEFT - 8, level + 4);
    }
    pen.fillText("now", width - RIGHT, height - 4);
  }

  stroke(pen, points) {
    pen.beginPath();
    for (const [x, y] of points) pen.lineTo(x, y);
    pen.stroke();
  }
}
