/** Sound as a WebSocket carries it: base64 of int16 samples, little-endian. Pure. */

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * @param {Float32Array} samples in [-1, 1]; what lies beyond is clipped
 * @returns {Int16Array}
 */
export function int16Of(samples) {
  return Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768))));
}

/** @param {Int16Array} samples */
export function base64Of(samples) {
  const bytes = new Uint8Array(swapped(samples).buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** @param {string} text base64 of int16 samples @returns {Float32Array} */
export function floatsOf(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Float32Array.from(swapped(new Int16Array(bytes.buffer)), (sample) => sample / 32768);
}

/** From the machine's byte order to the wire's, or back: a copy. */
function swapped(samples) {
  const copy = Int16Array.from(samples);
  if (LITTLE_ENDIAN) return copy;
  return copy.map((sample) => ((sample & 0xff) << 8) | ((sample >> 8) & 0xff));
}
