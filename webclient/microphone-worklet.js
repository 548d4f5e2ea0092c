/** The audio thread's end of the microphone: hands its sound over in pieces of 20 ms, as int16. */

import { int16Of } from "./pcm.js";

const PIECE_S = 0.02;

class Microphone extends AudioWorkletProcessor {
  #piece = new Float32Array(Math.round(PIECE_S * sampleRate));
  #filled = 0;

  process([input]) {
    // There is none while no track is connected.
    if (input[0]) this.#add(input[0]);
    return true;
  }

  #add(samples) {
    for (let at = 0; at < samples.length; ) {
      const taken = samples.subarray(at, at + this.#piece.length - this.#filled);
      this.#piece.set(taken, this.#filled);
      this.#filled += taken.length;
      at += taken.length;
      if (this.#filled === this.#piece.length) {
        const piece = int16Of(this.#piece);
        this.port.postMessage(piece, [piece.buffer]);
        this.#filled = 0;
      }
    }
  }
}

registerProcessor("microphone", Microphone);
