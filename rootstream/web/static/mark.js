/**
 * Reads the blocks that the test picture bears: its number, and when it was made
 * (rootstream/media/mark.py says how they are laid out).
 */

const COLUMNS = 40;
const LINES = 2;
const SALT = 0x5a;
const MIN_BLOCK = 2;

/** Where the blocks are copied to: a canvas made for being read. */
let scratch = null;

/** The number and the milliseconds modulo 2 ** 32, or null where there is no mark. */
export function readMark(canvas) {
  const block = Math.max(MIN_BLOCK, Math.floor(canvas.width / (2 * COLUMNS)));
  const width = COLUMNS * block;
  const height = LINES * block;
  scratch ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  if (scratch.canvas.width !== width) Object.assign(scratch.canvas, { width, height });
  scratch.drawImage(canvas, 0, 0);
  const { data } = scratch.getImageData(0, 0, width, height);
  const values = [];
  for (let line = 0; line < LINES; line++) {
    const bytes = [0, 0, 0, 0, 0];
    for (let column = 0; column < COLUMNS; column++) {
      // The mean of the middle of the block: its edges are soft after a codec.
      const from = Math.floor(block / 4);
      const to = Math.max(from + 1, block - from);
      let sum = 0;
      for (let y = from; y < to; y++) {
        for (let x = from; x < to; x++) {
          sum += data[4 * ((line * block + y) * width + column * block + x) + 1];
        }
      }
      const isWhite = sum / (to - from) ** 2 > 127;
      bytes[column >> 3] |= isWhite ? 0x80 >> (column & 7) : 0;
    }
    const [a, b, c, d, check] = bytes;
    if (((a + b + c + d + SALT) & 0xff) !== check) return null;
    values.push(((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
  }
  return { number: values[0], millis: values[1] };
}

/** How long ago that was by this machine's clock, in milliseconds. */
export function age(millis) {
  const now = Math.round(performance.timeOrigin + performance.now());
  return ((now % 2 ** 32) - millis) | 0;
}
