/**
 * Both directions of a call's sound where it is carried as data: the microphone as pieces of 20 ms, and the
 * assistant's voice out of pieces that come faster than they play.
 */

import { floatsOf } from "./pcm.js";
import { PlaybackQueue } from "./playback-queue.js";

/** What speech is heard at by the server; the browser converts, where it can. */
const MICROPHONE_RATE_HZ = 16000;
/** What the voice is made at. */
const VOICE_RATE_HZ = 24000;
const HIGHEST_RATE_HZ = 96000;
/** Samples that are rendered at once where it is done on the page's own thread. */
const SCRIPTED_BLOCK = 1024;

/** The caller's voice on its way to the server. */
export class Ear {
  #context = null;
  #source = null;
  #node = null;

  get rate_hz() {
    return this.#context?.sampleRate ?? MICROPHONE_RATE_HZ;
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {(samples: Int16Array) => void} heard takes each piece
   */
  async open(track, heard) {
    const stream = new MediaStream([track]);
    this.#context = new AudioContext({ sampleRate: MICROPHONE_RATE_HZ, latencyHint: "interactive" });
    try {
      this.#source = this.#context.createMediaStreamSource(stream);
    } catch {
      // Some browsers join a microphone only to a context of its own rate, which the server takes as well.
      await this.#context.close();
      this.#context = new AudioContext({ latencyHint: "interactive" });
      this.#source = this.#context.createMediaStreamSource(stream);
    }
    await this.#context.audioWorklet.addModule(new URL("microphone-worklet.js", import.meta.url));
    this.#node = new AudioWorkletNode(this.#context, "microphone");
    this.#node.port.onmessage = ({ data }) => heard(data);
    // It says nothing, but a node that leads nowhere is not run.
    this.#source.connect(this.#node).connect(this.#context.destination);
    this.resume();
  }

  /** Hears another microphone from now on. @param {MediaStreamTrack} track */
  replaceTrack(track) {
    const source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.disconnect();
    this.#source = source;
    this.#source.connect(this.#node);
  }

  /** Runs where the browser wanted a gesture first. */
  resume() {
    this.#context?.resume().catch(() => {}); // closed meanwhile
  }

  close() {
    this.#source?.disconnect();
    this.#context?.close().catch(() => {});
    this.#context = null;
  }
}

/** The assistant's voice on its way to the loudspeaker: as a track, which is played as any other. */
export class Mouth {
  #context = new AudioContext({ sampleRate: VOICE_RATE_HZ, latencyHint: "interactive" });
  /** @type {MessagePort | null} of whoever renders */
  #port = null;
  /** Who waits to be told what was played when it fell silent, the first one first. */
  #flushing = [];
  stream = null;

  get rate_hz() {
    return Math.min(HIGHEST_RATE_HZ, this.#context.sampleRate);
  }

  /** How long a sample takes from the queue to the ear, as far as the browser says. */
  get delay_ms() {
    return 1000 * ((this.#context.baseLatency ?? 0) + (this.#context.outputLatency ?? 0));
  }

  async open() {
    const node = this.#context.audioWorklet ? await this.#worklet() : this.#script();
    this.#port.onmessage = ({ data }) => this.#flushing.shift()?.(data);
    const destination = this.#context.createMediaStreamDestination();
    node.connect(destination);
    this.stream = destination.stream;
    this.resume();
  }

  async #worklet() {
    await this.#context.audioWorklet.addModule(new URL("playback-worklet.js", import.meta.url));
    const node = new AudioWorkletNode(this.#context, "playback", { outputChannelCount: [1] });
    this.#port = node.port;
    return node;
  }

  /** Pages from http:// have no worklets: the page's own thread renders, in larger blocks. */
  #script() {
    const queue = new PlaybackQueue(this.#context.sampleRate);
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = ({ data }) => queue.obey(data, port2);
    this.#port = port1;
    const node = this.#context.createScriptProcessor(SCRIPTED_BLOCK, 1, 1);
    node.onaudioprocess = ({ outputBuffer }) => queue.render(outputBuffer.getChannelData(0));
    return node;
  }

  /** One more piece of an item's sound. @param {string} itemId @param {string} audio base64 */
  push(itemId, audio) {
    if (audio === "") return;
    const samples = floatsOf(audio);
    this.#tell({ act: "push", itemId, samples }, [samples.buffer]);
  }

  /** @param {string} itemId */
  complete(itemId) {
    this.#tell({ act: "complete", itemId });
  }

  hold() {
    this.#tell({ act: "hold" });
  }

  /** @param {string} itemId @param {number} at_ms where in the item it goes on */
  goOn(itemId, at_ms) {
    this.#tell({ act: "resume", itemId, at_samples: Math.round((at_ms / 1000) * this.rate_hz) });
  }

  /**
   * Falls silent at once.
   *
   * @returns {Promise<Map<string, number>>} how many ms of each item were heard, by their ids
   */
  async flush() {
    const asked = new Promise((resolve) => this.#flushing.push(resolve));
    this.#tell({ act: "flush" });
    const gone = await asked;
    return new Map(
      gone.map(({ itemId, played_samples }) => [
        itemId,
        Math.max(0, Math.floor((1000 * played_samples) / this.rate_hz - this.delay_ms)),
      ]),
    );
  }

  resume() {
    this.#context.resume().catch(() => {}); // closed meanwhile
  }

  close() {
    this.#context.close().catch(() => {});
    this.#port?.close();
    for (const resolve of this.#flushing.splice(0)) resolve([]);
  }

  #tell(act, transfer = []) {
    this.#port?.postMessage(act, transfer);
  }
}
