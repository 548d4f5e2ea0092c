/** The audio thread's end of the assistant's voice: see socket-sound.js. */

import { PlaybackQueue } from "./playback-queue.js";

class Playback extends AudioWorkletProcessor {
  #queue = new PlaybackQueue(sampleRate);

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#queue.obey(data, this.port);
  }

  process(_inputs, [[output]]) {
    this.#queue.render(output);
    return true;
  }
}

registerProcessor("playback", Playback);
