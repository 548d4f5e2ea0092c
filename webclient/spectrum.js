/** From a spectrum's bins to the rows and colours of a picture. Pure: no audio, no canvas. */

const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
const hertz = (mels) => 700 * (10 ** (mels / 2595) - 1);

/**
 * The frequency of each row, evenly spaced as the ear has it (mel scale), lowest first.
 *
 * @param {number} rows
 * @param {number} max_hz
 * @returns {Float32Array} in hertz
 */
export function rowFrequencies(rows, max_hz) {
  return Float32Array.from({ length: rows }, (_, row) => hertz((mel(max_hz) * (row + 0.5)) / rows));
}

/**
 * The loudness at a frequency, between two bins in proportion.
 *
 * @param {Uint8Array} bins from 0 Hz up, as an AnalyserNode gives them
 * @param {number} binWidth_hz
 * @param {number} frequency_hz
 * @returns {number} 0 to 255
 */
export function loudnessAt(bins, binWidth_hz, frequency_hz) {
  const position = Math.min(frequency_hz / binWidth_hz, bins.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, bins.length - 1);
  return bins[below] + (bins[above] - bins[below]) * (position - below);
}

/**
 * 256 colours from nothing through a voice's colour to its peak.
 *
 * @param {number[]} colour [red, green, blue]
 * @param {number[]} peak [red, green, blue]
 * @returns {Uint8ClampedArray} RGBA, four numbers a loudness
 */
export function colourRamp(colour, peak) {
  const ramp = new Uint8ClampedArray(256 * 4);
  for (let loudness = 0; loudness < 256; loudness++) {
    const strength = loudness / 255;
    const towardsPeak = Math.max(0, (strength - 0.55) / 0.45);
    for (let channel = 0; channel < 3; channel++) {
      ramp[loudness * 4 + channel] = colour[channel] + (peak[channel] - colour[channel]) * towardsPeak;
    }
    ramp[loudness * 4 + 3] = 255 * Math.min(1, strength * 1.25) ** 1.5;
  }
  return ramp;
}

/**
 * A drawn voice for the picture at rest: harmonics under formants, in syllables. Decoration, not sound.
 *
 * @param {number} time_s
 * @param {number} frequency_hz
 * @param {number} pitch_hz
 * @returns {number} 0 to 255
 */
export function drawnVoice(time_s, frequency_hz, pitch_hz) {
  const phrase = Math.min(1, Math.max(0, 2.6 * Math.sin(time_s * 0.9)));
  const syllable = 0.25 + 0.75 * Math.abs(Math.sin(time_s * 4.3 + Math.sin(time_s * 2.3)));
  const pitch = pitch_hz * (1 + 0.14 * Math.sin(time_s * 1.7) + 0.05 * Math.sin(time_s * 5.3));
  // Harmonics stand apart where the ear can tell them apart, and run together above.
  const apart = Math.exp(-((frequency_hz / 1500) ** 2));
  const harmonic = 1 - apart + apart * (0.5 + 0.5 * Math.cos((2 * Math.PI * frequency_hz) / pitch)) ** 1.5;
  const formants = [
    [480 + 220 * Math.sin(time_s * 3.1), 330, 1],
    [1500 + 550 * Math.sin(time_s * 2.3 + 1), 380, 0.7],
    [2800 + 300 * Math.sin(time_s * 1.9 + 2), 550, 0.5],
  ];
  let tone = 0;
  for (const [centre, width, strength] of formants) {
    tone += strength * Math.exp(-(((frequency_hz - centre) / width) ** 2));
  }
  const breath =
    0.45 * Math.max(0, Math.sin(time_s * 2.9)) ** 12 * Math.exp(-(((frequency_hz - 5000) / 1700) ** 2));
  return 255 * Math.min(1, phrase * (syllable * tone * harmonic + breath));
}
