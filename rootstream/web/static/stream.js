/**
 * The frames that come over the viewer's WebSocket, read from their bytes.
 */

export const VIDEO = 1;
export const AUDIO = 2;
const HEAD = 18;
const AUDIO_HEAD = HEAD + 8;
const KEY = 1;
const UNKNOWN = 2n ** 64n - 1n;

/**
 * A frame: its kind, whether it is a key frame, its time by the host's clock in
 * microseconds, its age in milliseconds (null when unknown), and the payload.
 */
export function readFrame(buffer) {
  const view = new DataView(buffer);
  const kind = view.getUint8(0);
  const age = view.getBigUint64(10, true);
  const frame = {
    kind,
    isKey: (view.getUint8(1) & KEY) !== 0,
    timestamp: Number(view.getBigUint64(2, true)),
    age: age === UNKNOWN ? null : Number(age) / 1000,
    payload: new Uint8Array(buffer, kind === AUDIO ? AUDIO_HEAD : HEAD),
  };
  if (kind === AUDIO) {
    frame.sampleRate = view.getUint32(HEAD, true);
    frame.channels = view.getUint16(HEAD + 4, true);
  }
  return frame;
}
