/**
 * The picture of both voices: two spectrograms that share their ground line, the caller's growing up from
 * it, the assistant's down, as time flows to the left.
 *
 * It is drawn only while a call is up and the page is seen. Where less motion is asked for, nothing flows:
 * the picture is written from left to right, a few strokes a second.
 */

import { colourRamp, drawnVoice, loudnessAt, rowFrequencies } from "./spectrum.js";

const SPEED_PX_PER_S = 72;
const STROKE_PX = 3;
const GAP_PX = 1;
const CALM_STROKES_PER_S = 4;
/** The loudness of the drawing at rest, against a real voice's. */
const REST_STRENGTH = 0.75;
/** It is at least this long, so that both voices are seen on a narrow screen too. */
const REST_SHORTEST_S = 8;

export class VoicePicture {
  #canvas;
  #settings;
  #onLevel;
  #audioContext = null;
  /** @type {{caller: Voice | null, assistant: Voice | null}} */
  #voices = { caller: null, assistant: null };
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /** What has been drawn, as a ring: the newest stroke is left of `#head`. */
  #ring = document.createElement("canvas");
  #head = 0;
  #ramps;
  #frequencies;
  #stroke;

  #frame = 0;
  #drawnUntil_ms = 0;
  #atRest = true;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{fft_size: number, smoothing: number, floor_db: number, ceiling_db: number, frequency_max_hz: number}} settings
   * @param {(level: number) => void} onLevel told the louder voice's level, 0 to 1, at each stroke
   */
  constructor(canvas, settings, onLevel) {
    this.#canvas = canvas;
    this.#settings = settings;
    this.#onLevel = onLevel;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolour());
    document.addEventListener("visibilitychange", () => this.#schedule());
  }

  /** @param {MediaStream | null} stream the caller's voice */
  showCaller(stream) {
    this.#show("caller", stream);
  }

  /** @param {MediaStream | null} stream the assistant's voice */
  showAssistant(stream) {
    this.#show("assistant", stream);
  }

  #show(side, stream) {
    this.#voices[side]?.source.disconnect();
    this.#voices[side] = stream ? this.#listenTo(stream) : null;
    this.#schedule();
  }

  /** @returns {Voice} */
  #listenTo(stream) {
    this.#audioContext ??= new AudioContext();
    this.#audioContext.resume();
    const analyser = this.#audioContext.createAnalyser();
    analyser.fftSize = this.#settings.fft_size;
    analyser.smoothingTimeConstant = this.#settings.smoothing;
    analyser.minDecibels = this.#settings.floor_db;
    analyser.maxDecibels = this.#settings.ceiling_db;
    const source = this.#audioContext.createMediaStreamSource(stream);
    source.connect(analyser);
    return { source, analyser, bins: new Uint8Array(analyser.frequencyBinCount) };
  }

  get #live() {
    return this.#voices.caller !== null || this.#voices.assistant !== null;
  }

  #schedule() {
    cancelAnimationFrame(this.#frame);
    if (!this.#live) {
      this.#audioContext?.suspend();
      this.#onLevel(0);
      return;
    }
    if (this.#atRest) this.#endRest();
    this.#audioContext?.resume();
    if (document.hidden) return;
    this.#drawnUntil_ms = performance.now();
    this.#frame = requestAnimationFrame((now_ms) => this.#draw(now_ms));
  }

  #draw(now_ms) {
    this.#frame = requestAnimationFrame((next_ms) => this.#draw(next_ms));
    const perStroke_ms = this.#calm.matches
      ? 1000 / CALM_STROKES_PER_S
      : (1000 * (STROKE_PX + GAP_PX)) / SPEED_PX_PER_S;
    const strokes = Math.floor((now_ms - this.#drawnUntil_ms) / perStroke_ms);
    if (strokes <= 0) return;
    this.#drawnUntil_ms += strokes * perStroke_ms;
    let level = 0;
    for (const voice of Object.values(this.#voices)) {
      voice?.analyser.getByteFrequencyData(voice.bins);
      level = Math.max(level, voice ? speechLevel(voice, this.#audioContext.sampleRate) : 0);
    }
    const binWidth_hz = this.#audioContext.sampleRate / this.#settings.fft_size;
    const loudness = (side, frequency_hz) => {
      const voice = this.#voices[side];
      return voice ? loudnessAt(voice.bins, binWidth_hz, frequency_hz) : 0;
    };
    for (let stroke = 0; stroke < strokes; stroke++) this.#addStroke(loudness);
    this.#present();
    this.#onLevel(this.#calm.matches ? 0 : level);
  }

  /** @param {(side: "caller" | "assistant", frequency_hz: number) => number} loudness 0 to 255 */
  #addStroke(loudness) {
    const { width, height, data } = this.#stroke;
    const ground = height / 2;
    this.#frequencies.forEach((frequency_hz, row) => {
      paintRow(data, width, ground - 1 - row, this.#ramps.caller, loudness("caller", frequency_hz));
      paintRow(data, width, ground + row, this.#ramps.assistant, loudness("assistant", frequency_hz));
    });
    const context = this.#ring.getContext("2d");
    const step = this.#step;
    context.clearRect(this.#head, 0, step, height);
    context.putImageData(this.#stroke, this.#head, 0);
    this.#head = (this.#head + step) % this.#ring.width;
    if (this.#calm.matches) context.clearRect(this.#head, 0, 4 * step, height);
  }

  /** The ring, unrolled so that the newest stroke is at the right edge; where motion is unwanted, as it is. */
  #present() {
    const context = this.#canvas.getContext("2d");
    const { width, height } = this.#ring;
    const head = this.#calm.matches ? 0 : this.#head;
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    const left = this.#canvas.width - width;
    if (head < width)
      context.drawImage(this.#ring, head, 0, width - head, height, left, 0, width - head, height);
    if (head > 0) context.drawImage(this.#ring, 0, 0, head, height, left + width - head, 0, head, height);
  }

  get #step() {
    return Math.round((STROKE_PX + GAP_PX) * devicePixelRatio);
  }

  #resize() {
    const width = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    const height = 2 * Math.round((this.#canvas.clientHeight * devicePixelRatio) / 2);
    if (width === 0 || height === 0) return;
    if (width === this.#canvas.width && height === this.#canvas.height && this.#ramps) return;
    const before = this.#atRest ? null : copy(this.#canvas);
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#ring.width = Math.ceil(width / this.#step) * this.#step;
    this.#ring.height = height;
    this.#head = 0;
    this.#frequencies = rowFrequencies(height / 2, this.#settings.frequency_max_hz);
    this.#stroke = new ImageData(Math.round(STROKE_PX * devicePixelRatio), height);
    this.#recolour();
    if (before) {
      // What has been drawn stays, its newest stroke at the right edge.
      const context = this.#ring.getContext("2d");
      context.drawImage(before, this.#ring.width - before.width, 0, before.width, height);
      this.#present();
    }
  }

  #recolour() {
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => parseColour(style.getPropertyValue(name));
    this.#ramps = {
      caller: colourRamp(colour("--caller"), colour("--caller-peak")),
      assistant: colourRamp(colour("--assistant"), colour("--assistant-peak")),
    };
    if (this.#atRest) this.#drawRest();
  }

  /** Before the first call: two drawn voices that take turns. */
  #drawRest() {
    const strokes = this.#ring.width / this.#step;
    const perStroke_s = Math.max((STROKE_PX + GAP_PX) / 110, REST_SHORTEST_S / strokes);
    const pitch_hz = { caller: 135, assistant: 215 };
    const shift_s = { caller: 0, assistant: Math.PI / 0.9 };
    for (let index = 0; index < strokes; index++) {
      const time_s = index * perStroke_s;
      this.#addStroke(
        (side, frequency_hz) =>
          REST_STRENGTH * drawnVoice(time_s + shift_s[side], frequency_hz, pitch_hz[side]),
      );
    }
    this.#present();
  }

  #endRest() {
    this.#atRest = false;
    this.#ring.getContext("2d").clearRect(0, 0, this.#ring.width, this.#ring.height);
  }
}

function copy(canvas) {
  const duplicate = document.createElement("canvas");
  duplicate.width = canvas.width;
  duplicate.height = canvas.height;
  if (canvas.width > 0 && canvas.height > 0) duplicate.getContext("2d").drawImage(canvas, 0, 0);
  return duplicate;
}

/** @typedef {{source: MediaStreamAudioSourceNode, analyser: AnalyserNode, bins: Uint8Array}} Voice */

/** The mean loudness between 150 Hz and 3 kHz, where speech is, 0 to 1. @param {Voice} voice */
function speechLevel({ analyser, bins }, rate_hz) {
  const binWidth_hz = rate_hz / analyser.fftSize;
  const speech = bins.subarray(Math.ceil(150 / binWidth_hz), Math.ceil(3000 / binWidth_hz));
  return speech.reduce((sum, bin) => sum + bin, 0) / (255 * speech.length);
}

function paintRow(data, width, row, ramp, loudness) {
  const colour = Math.round(loudness) * 4;
  for (let x = 0; x < width; x++) {
    const pixel = (row * width + x) * 4;
    for (let channel = 0; channel < 4; channel++) data[pixel + channel] = ramp[colour + channel];
  }
}

/** @param {string} hex such as "#2f4fc4" */
function parseColour(hex) {
  const number = Number.parseInt(hex.trim().slice(1), 16);
  return [(number >> 16) & 255, (number >> 8) & 255, number & 255];
}
