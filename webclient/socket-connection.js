/**
 * One connection to the server over a WebSocket, `/ws`: for networks that let no UDP through.
 *
 * To whoever uses it, it is a `Connection` (connection.js): Realtime events go in and come out.
 */

import { keyProtocols } from "./key.js";
import { base64Of } from "./pcm.js";
import { lostProblem, refusalProblem, unreachableProblem } from "./problems.js";
import { PLAYED_ID, ServerWords, flatSettings, messagesOf } from "./socket-messages.js";
import { Ear, Mouth } from "./socket-sound.js";
import { deferred } from "./waiting.js";

/** How long connecting may take, where the server does not say. */
const CONNECT_TIMEOUT_S = 15;
const PING_INTERVAL_MS = 2000;
/** A ping that was answered by nothing for so long: the connection is lost. */
const SILENT_LIMIT_MS = 6000;
/** What may wait to be sent; the caller's voice beyond it is old, and is left out. */
const MOST_WAITING_BYTES = 65536;

export class SocketConnection {
  #url;
  #protocols;
  #listener;
  #timeout_ms;
  #socket = null;
  #words = new ServerWords();
  /** @type {Ear | null} */
  #ear = null;
  /** @type {Mouth | null} */
  #mouth = null;
  /** How much was heard of items that were cut here, before the server knew of it. @type {Map<string, number>} */
  #heard_ms = new Map();

  #closed = false;
  #begun = false;
  #opened = false;
  #pinging = 0;
  #ping = { id: 0, sent_ms: 0, answered: true };
  #lastCame_ms = 0;
  #roundTrip_ms = null;
  #ready = deferred();

  /** As of `Connection`. */
  constructor({ server, key, config, listener }) {
    this.#url = new URL("ws", server);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#protocols = keyProtocols(key);
    this.#listener = listener;
    this.#timeout_ms = (config.connect_timeout_s ?? CONNECT_TIMEOUT_S) * 1000;
  }

  /** As of `Connection`. */
  async open({ track, speaker, session }) {
    const deadline = setTimeout(() => this.#fail(unreachableProblem("timeout")), this.#timeout_ms);
    try {
      const sound = this.#openSound(track, speaker);
      const greeted = this.#dial();
      await Promise.race([Promise.all([greeted, sound]), this.#ready.promise]);
      if (this.#mouth) this.#listener.onTrack(this.#mouth.stream.getAudioTracks()[0], this.#mouth.stream);
      this.#start(session, speaker);
      await this.#ready.promise;
      this.#opened = true;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(deadline);
    }
    this.#pinging = setInterval(() => this.#keepAlive(), PING_INTERVAL_MS);
  }

  /** @param {{type: string, [field: string]: any}} event a Realtime client event */
  send(event) {
    // What the caller stops falls silent here before the server hears of it.
    if (event.type === "output_audio_buffer.clear") this.#fallSilent();
    for (const message of messagesOf(event)) this.#tell(message);
  }

  /** Speaks from another microphone from now on. @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    this.#ear?.replaceTrack(track);
  }

  /** @returns {Promise<import("./latency.js").NetworkDelay | null>} */
  async networkDelay() {
    if (this.#closed || this.#roundTrip_ms === null) return null;
    return { round_trip_ms: this.#roundTrip_ms, jitter_buffer_ms: this.#mouth?.delay_ms ?? 0 };
  }

  /** Runs what the browser held back until there was a gesture. */
  unblock() {
    this.#ear?.resume();
    this.#mouth?.resume();
  }

  /** Ends the call on both sides. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#pinging);
    this.#ready.reject(lostProblem());
    this.#ear?.close();
    this.#mouth?.close();
    this.#socket?.close();
  }

  async #openSound(track, speaker) {
    if (speaker) {
      this.#mouth = new Mouth();
      await this.#mouth.open();
    }
    if (track) {
      this.#ear = new Ear();
      await this.#ear.open(track, (samples) => this.#hear(samples));
    }
  }

  /** Done when the server has greeted. */
  #dial() {
    return new Promise((resolve) => {
      this.#socket = new WebSocket(this.#url, this.#protocols);
      this.#socket.addEventListener("message", ({ data }) => {
        this.#lastCame_ms = performance.now();
        const message = JSON.parse(data);
        if (message.type === "connection") resolve();
        else this.#onMessage(message);
      });
      this.#socket.addEventListener("close", () =>
        this.#fail(this.#opened ? lostProblem() : unreachableProblem("closed")),
      );
    });
  }

  #start(session, speaker) {
    this.#tell({
      type: "start",
      text_only: !speaker,
      pauses: true,
      latency: session.include?.includes("vk.turn.latency") ?? false,
      settings: flatSettings(session),
      ...(this.#ear && { input: { encoding: "int16", rate_hz: this.#ear.rate_hz } }),
      ...(this.#mouth && { output: { encoding: "int16", rate_hz: this.#mouth.rate_hz } }),
    });
    this.#begun = true;
  }

  #onMessage(message) {
    switch (message.type) {
      case "started":
        this.#ready.resolve();
        break;
      case "speech_response":
        this.#mouth?.push(message.item_id, message.audio);
        if (message.final) this.#mouth?.complete(message.item_id);
        return;
      case "playback":
        if (message.state === "held") this.#mouth?.hold();
        if (message.state === "resumed") this.#mouth?.goOn(message.item_id, message.at_ms);
        break;
      case "interrupted":
        this.#tellPlayed(message.item_id);
        break;
      case "pong":
        if (message.id === String(this.#ping.id))
          this.#roundTrip_ms = performance.now() - this.#ping.sent_ms;
        return;
      case "error":
        if (this.#opened) break;
        return this.#refuse(message);
    }
    for (const event of this.#words.eventsOf(message)) this.#listener.onEvent(event);
  }

  /** Before the call has begun an error ends it. */
  #refuse({ fault, code, message, retry_after_s }) {
    const status = fault === "client" && !retry_after_s ? 400 : 503;
    this.#fail(refusalProblem(status, { code, message }, retry_after_s ? String(retry_after_s) : null));
  }

  #hear(samples) {
    if (!this.#begun || this.#socket.bufferedAmount > MOST_WAITING_BYTES) return;
    this.#tell({ type: "audio", audio: base64Of(samples) });
  }

  async #fallSilent() {
    const heard_ms = (await this.#mouth?.flush()) ?? [];
    for (const [itemId, played_ms] of heard_ms) this.#heard_ms.set(itemId, played_ms);
  }

  /** The server guesses what was heard of what it stopped: here it is known. */
  async #tellPlayed(itemId) {
    await this.#fallSilent();
    const audio_ms = this.#heard_ms.get(itemId);
    this.#heard_ms.delete(itemId);
    if (audio_ms !== undefined) this.#tell({ type: "played", id: PLAYED_ID, item_id: itemId, audio_ms });
  }

  #keepAlive() {
    const now_ms = performance.now();
    const answered = this.#lastCame_ms >= this.#ping.sent_ms;
    if (this.#ping.id > 0 && !answered) {
      if (now_ms - this.#ping.sent_ms > SILENT_LIMIT_MS) this.#fail(lostProblem());
      return;
    }
    this.#ping = { id: this.#ping.id + 1, sent_ms: now_ms };
    this.#tell({ type: "ping", id: String(this.#ping.id) });
  }

  #tell(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #fail(problem) {
    if (this.#closed) return;
    this.#ready.reject(problem);
    if (!this.#opened) return;
    this.close();
    this.#listener.onLost(problem, this.#lastCame_ms || performance.now());
  }
}
