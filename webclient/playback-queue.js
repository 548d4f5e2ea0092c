/**
 * The assistant's voice that waits to be played: pieces come faster than they play. Pure: runs in an audio
 * worklet, and in a test.
 */

/** A voice that stops ends in a fade, and one that goes on begins with one: a step clicks. */
const FADE_S = 0.005;
/** How much of what was played is kept, so that a voice that was held can go back to the start of a word. */
const KEPT_S = 1.2;
/** Items thrown away, of which pieces may still be on their way. */
const MOST_DISCARDED = 16;

/**
 * @typedef {object} Track one item's sound
 * @property {string} itemId
 * @property {Float32Array[]} pieces those kept and those to come
 * @property {number} start_samples where in the item the first of them begins
 * @property {number} played_samples where in the item it is played
 * @property {number} end_samples where in the item the last of them ends
 * @property {boolean} complete no more will come
 */

export class PlaybackQueue {
  #fade_samples;
  #kept_samples;
  /** @type {Track[]} the first is being played */
  #tracks = [];
  #discarded = [];
  /** @type {Float32Array} what fades out now */
  #tail = new Float32Array(0);
  #held = false;
  #fadesIn = false;

  /** @param {number} rate_hz */
  constructor(rate_hz) {
    this.#fade_samples = Math.round(FADE_S * rate_hz);
    this.#kept_samples = Math.round(KEPT_S * rate_hz);
  }

  /**
   * Does what a message says: see socket-sound.js.
   *
   * @param {{act: string, itemId?: string, samples?: Float32Array, at_samples?: number}} message
   * @param {MessagePort} port takes the answer to a flush
   */
  obey({ act, itemId, samples, at_samples }, port) {
    switch (act) {
      case "push":
        return this.push(itemId, samples);
      case "complete":
        return this.complete(itemId);
      case "hold":
        return this.hold();
      case "resume":
        return this.resume(itemId, at_samples);
      case "flush":
        return port.postMessage(this.flush());
    }
  }

  /** @param {string} itemId @param {Float32Array} samples after those that came before */
  push(itemId, samples) {
    if (this.#discarded.includes(itemId)) return;
    const track = this.#track(itemId);
    track.pieces.push(samples);
    track.end_samples += samples.length;
  }

  /** No more of an item will come. @param {string} itemId */
  complete(itemId) {
    if (!this.#discarded.includes(itemId)) this.#track(itemId).complete = true;
  }

  /** Falls silent; what is left goes on just there, or a little before. */
  hold() {
    if (this.#held) return;
    this.#fadeOut();
    this.#held = true;
  }

  /** @param {string} itemId @param {number} at_samples where in the item; no further back than is kept */
  resume(itemId, at_samples) {
    if (!this.#held) return;
    this.#held = false;
    this.#fadesIn = true;
    const track = this.#tracks.find((other) => other.itemId === itemId);
    if (track) track.played_samples = Math.max(track.start_samples, Math.min(at_samples, track.end_samples));
  }

  /**
   * Falls silent; what was to be played is gone, also what of it is still on its way.
   *
   * @returns {{itemId: string, played_samples: number}[]} how much of each item was played
   */
  flush() {
    if (!this.#held) this.#fadeOut();
    this.#held = this.#fadesIn = false;
    const gone = this.#tracks.map(({ itemId, played_samples }) => ({ itemId, played_samples }));
    this.#discarded = [...this.#discarded, ...gone.map(({ itemId }) => itemId)].slice(-MOST_DISCARDED);
    this.#tracks = [];
    return gone;
  }

  /** The next samples to be heard. @param {Float32Array} output is filled */
  render(output) {
    output.fill(0);
    const faded = Math.min(this.#tail.length, output.length);
    output.set(this.#tail.subarray(0, faded));
    this.#tail = this.#tail.subarray(faded);
    let filled = faded;
    while (!this.#held && filled < output.length && this.#tracks.length > 0) {
      const [track] = this.#tracks;
      const began = filled;
      filled += read(track, output.subarray(filled));
      if (this.#fadesIn && filled > began) {
        this.#fadesIn = false;
        ramp(output.subarray(began, Math.min(filled, began + this.#fade_samples)), 0, 1);
      }
      if (filled === output.length) break;
      if (!track.complete) break; // the rest of it is on its way
      this.#tracks.shift();
    }
    if (this.#tracks.length > 0) forget(this.#tracks[0], this.#kept_samples);
  }

  #track(itemId) {
    const known = this.#tracks.find((track) => track.itemId === itemId);
    if (known) return known;
    const track = {
      itemId,
      pieces: [],
      start_samples: 0,
      played_samples: 0,
      end_samples: 0,
      complete: false,
    };
    this.#tracks.push(track);
    return track;
  }

  #fadeOut() {
    const [track] = this.#tracks;
    if (!track || track.played_samples === 0) return;
    const tail = new Float32Array(this.#fade_samples);
    const { played_samples } = track;
    const length = read(track, tail);
    track.played_samples = played_samples;
    this.#tail = tail.subarray(0, length);
    ramp(this.#tail, 1, 0);
  }
}

/** Copies what comes next of a track. Returns how many samples there were. */
function read(track, output) {
  let filled = 0;
  let at = track.start_samples;
  for (const piece of track.pieces) {
    const from = Math.max(0, track.played_samples - at);
    if (from < piece.length && filled < output.length) {
      const samples = piece.subarray(from, from + output.length - filled);
      output.set(samples, filled);
      filled += samples.length;
      track.played_samples += samples.length;
    }
    at += piece.length;
  }
  return filled;
}

/** Drops pieces that were played long enough ago. */
function forget(track, kept_samples) {
  while (
    track.pieces.length > 0 &&
    track.start_samples + track.pieces[0].length + kept_samples <= track.played_samples
  ) {
    track.start_samples += track.pieces.shift().length;
  }
}

function ramp(samples, from, to) {
  for (const index of samples.keys()) samples[index] *= from + ((to - from) * index) / samples.length;
}
