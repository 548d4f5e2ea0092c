/**
 * A voice call to a Voxtral-Kokoro server, for any page: no dependencies, no build step, no user interface.
 *
 *     import { VoiceClient } from "./voice-client.js";
 *
 *     const client = new VoiceClient();
 *     client.addEventListener("state", ({ detail }) => (document.title = detail.state));
 *     client.addEventListener("item", ({ detail: { kind, item } }) => console.log(kind, item.role, item.text));
 *     client.addEventListener("problem", ({ detail }) => alert(detail.message));
 *
 *     callButton.onclick = () => client.call({
 *       microphone: true,                        // false: type only; a device id or a MediaStream: speak from that
 *       session: { instructions: "You are a pirate.", audio: { output: { voice: "af_heart" } } },
 *     });
 *     sendButton.onclick = () => client.sendText(input.value);
 *     hangUpButton.onclick = () => client.hangUp();
 *
 * What is in `items` is what the assistant knows: a call that follows another, be it after a broken
 * connection (made by itself, up to five tries) or after a hang-up, gives the server the conversation so
 * far, of answers only what can have been heard, and goes on where it was, without a second greeting.
 * `newConversation()` forgets it on both sides.
 *
 * A call goes over WebRTC. Where no UDP gets through, it goes over a WebSocket by itself, with all that it can
 * do; `transport` says which.
 *
 * States: idle → connecting → listening ⇄ hearing / thinking / speaking → idle; reconnecting while a broken
 * call is made again; failed when a call could not be made (then `call()` may be tried again).
 *
 * Events, each a CustomEvent whose `detail` is
 *   state        {state, previous}
 *   item         {kind: "added" | "changed" | "removed", item}     see conversation.js
 *   transcript   {item, delta?}                                    text of an item has come
 *   latency      a turn's stages, with the network's part          see latency.js; only if the session's
 *                                                                  `include` has "vk.turn.latency"
 *   problem      {code, message, retryAfterS}                      message: for people
 *   microphone   {stream: MediaStream | null}
 *   remotetrack  {track, stream}                                   played by the client itself
 *   event        every event from the server, as it came           the OpenAI Realtime API's vocabulary
 */

import { Conversation } from "./conversation.js";
import { Dialler } from "./dialler.js";
import { Floor } from "./floor.js";
import { Hearing } from "./hearing.js";
import { keyHeaders } from "./key.js";
import { turnLatency } from "./latency.js";
import { merge } from "./merge.js";
import { openMicrophone } from "./microphone.js";
import { Problem, refusalProblem, unreachableProblem } from "./problems.js";
import { wait } from "./waiting.js";

/** The wait before each try to call again after a broken connection. */
const RETRY_DELAYS_MS = [300, 1000, 2000, 4000, 8000];
const LONGEST_RETRY_AFTER_S = 15;

/** Errors that only say that a request crossed with the event that made it needless. */
const HARMLESS_ERRORS = new Set([
  "response_cancel_not_active",
  "item_create_duplicate_item_id",
  "item_retrieve_invalid_item_id",
]);

/** @typedef {"idle" | "connecting" | "listening" | "hearing" | "thinking" | "speaking" | "reconnecting" | "failed"} State */

export class VoiceClient extends EventTarget {
  #server;
  #key;
  #audio;
  #config = null;

  /** @type {State} */
  #state = "idle";
  #conversation = new Conversation();
  #floor = new Floor();
  #hearing = new Hearing();
  /** Whether something written is to be answered once the present response is done. */
  #replyOwed = false;
  #dialler;
  #connection = null;
  #transport = null;
  /** Of the present call: aborted by hanging up, so that what was under way for it is dropped. */
  #calling = new AbortController();

  #session = {};
  #speaker = true;
  #microphone = null;
  #ownsMicrophone = false;
  #muted = false;

  /**
   * @param {object} [options]
   * @param {string | URL} [options.server] the server's address, when it is not the page's own
   * @param {string | null} [options.key] one of its keys, when it asks for one
   * @param {HTMLAudioElement} [options.audio] where the assistant is played
   * @param {"auto" | "webrtc" | "websocket"} [options.transport] `auto`: WebRTC, and where no UDP gets through,
   *   a WebSocket
   */
  constructor({ server = document.baseURI, key = null, audio = new Audio(), transport = "auto" } = {}) {
    super();
    this.#server = new URL(server);
    this.#key = key;
    this.#audio = audio;
    this.#dialler = new Dialler(transport);
  }

  get state() {
    return this.#state;
  }

  /** The conversation so far. */
  get items() {
    return this.#conversation.items;
  }

  /** Whether a call is up (though it may be reconnecting). */
  get inCall() {
    return !["idle", "connecting", "failed"].includes(this.#state);
  }

  /** @returns {"webrtc" | "websocket" | null} how the present call, or the last one, reaches the server */
  get transport() {
    return this.#transport;
  }

  get muted() {
    return this.#muted;
  }

  /** Whether the call was made to carry the answers' sound. */
  get speaker() {
    return this.#speaker;
  }

  /** @returns {MediaStream | null} what the caller speaks into */
  get microphone() {
    return this.#microphone;
  }

  /** What the server offers: voices, languages, defaults. Fetched once. @throws {Problem} */
  async config() {
    if (this.#config) return this.#config;
    let response;
    try {
      response = await fetch(new URL("api/config", this.#server), { headers: keyHeaders(this.#key) });
    } catch (error) {
      throw unreachableProblem(error);
    }
    if (!response.ok) throw refusalProblem(response.status, {}, response.headers.get("Retry-After"));
    this.#config = await response.json();
    return this.#config;
  }

  /**
   * Calls the server; ends the call before, if there is one. What goes wrong is told by a "problem" event.
   *
   * @param {object} [options]
   * @param {boolean | string | MediaStream} [options.microphone] false for a call without one; a given
   *   stream is not stopped by hanging up, as it is its owner's
   * @param {boolean} [options.speaker] whether the answers' sound is wanted; with neither microphone nor
   *   speaker the call is made of the event channel alone
   * @param {object} [options.session] settings in the Realtime API's shape
   * @returns {Promise<boolean>} whether the call is up
   */
  async call({ microphone = true, speaker = true, session = {} } = {}) {
    this.#end();
    const { signal } = this.#calling;
    this.#speaker = speaker;
    this.#session = structuredClone(session);
    this.#setState("connecting");
    try {
      await this.#takeMicrophone(microphone, signal);
      await this.#connect(signal);
      return true;
    } catch (error) {
      this.#giveUp(error, signal);
      return false;
    }
  }

  /** Ends the call, on the server too, and lets go of the microphone. The conversation is kept. */
  hangUp() {
    this.#end();
    this.#setState("idle");
  }

  /** @param {boolean} muted whether the microphone sends silence */
  mute(muted) {
    this.#muted = muted;
    for (const track of this.#microphone?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /**
   * Says something in writing; interrupts the assistant, as speaking would.
   *
   * @param {string} text
   */
  sendText(text) {
    if (!this.#connection || text.trim() === "") return;
    this.interrupt();
    const id = `item_${randomHex(12)}`;
    this.#announce(this.#conversation.addTyped(id, text.trim()));
    this.#send({
      type: "conversation.item.create",
      item: { id, type: "message", role: "user", content: [{ type: "input_text", text: text.trim() }] },
    });
    this.#send({ type: "response.create" });
    this.#floor.expectReply();
    this.#followFloor();
  }

  /**
   * Changes the session, and those of later calls that go on with this one after a broken connection.
   *
   * @param {object} patch in the Realtime API's shape; what it leaves out stays as it is
   */
  updateSession(patch) {
    this.#session = merge(this.#session, patch);
    const include = patch.include && { include: withHeardText(patch.include) };
    this.#send({ type: "session.update", session: { type: "realtime", ...patch, ...include } });
  }

  /** Forgets the conversation, here and on the server. */
  newConversation() {
    if (this.#connection) {
      this.interrupt();
      this.#send({ type: "vk.conversation.reset" });
    } else {
      this.#announce(this.#conversation.clear());
    }
  }

  /** Stops the assistant, if it is speaking or about to. */
  interrupt() {
    if (this.#floor.making) this.#send({ type: "response.cancel" });
    if (this.#floor.making || this.#floor.sounding) this.#send({ type: "output_audio_buffer.clear" });
  }

  /**
   * Speaks from another microphone from now on.
   *
   * @param {string} deviceId
   */
  async useMicrophone(deviceId) {
    if (!this.#microphone) return;
    const { signal } = this.#calling;
    try {
      const before = this.#ownsMicrophone ? this.#microphone : null;
      const stream = await openMicrophone(deviceId || true);
      if (signal.aborted) return stopTracks(stream);
      this.#setMicrophone(stream, true);
      await this.#connection?.replaceTrack(stream.getAudioTracks()[0]);
      stopTracks(before);
    } catch (error) {
      this.#tellProblem(error);
    }
  }

  /** Plays the assistant where the browser wanted a gesture first: call it from a click. */
  async unblockAudio() {
    this.#connection?.unblock();
    await this.#play();
  }

  async #takeMicrophone(choice, signal) {
    if (choice === false) return;
    const given = choice instanceof MediaStream;
    const stream = given ? choice : await openMicrophone(choice);
    if (signal.aborted) {
      if (!given) stopTracks(stream);
      throw signal.reason;
    }
    this.#setMicrophone(stream, !given);
  }

  #setMicrophone(stream, owned) {
    this.#microphone = stream;
    this.#ownsMicrophone = owned;
    this.mute(this.#muted);
    for (const track of stream?.getAudioTracks() ?? []) {
      track.addEventListener("ended", () => this.#onMicrophoneEnded(stream));
    }
    this.#emit("microphone", { stream });
  }

  #onMicrophoneEnded(stream) {
    if (stream !== this.#microphone) return;
    this.#tellProblem(
      new Problem(
        "microphone-lost",
        "The microphone is gone: it was unplugged or its permission withdrawn. Choose another.",
      ),
    );
  }

  async #connect(signal) {
    const config = await this.config();
    signal.throwIfAborted();
    const history = this.#conversation.asCreateEvents();
    this.#floor = new Floor();
    this.#hearing = new Hearing();
    this.#replyOwed = false;
    const { connection, transport } = await this.#dialler.dial(
      {
        server: this.#server,
        key: this.#key,
        config,
        listener: {
          onEvent: (event) => signal.aborted || this.#onEvent(event),
          onTrack: (track, stream) => signal.aborted || this.#onTrack(track, stream),
          onLost: (problem, at_ms) => signal.aborted || this.#reconnect(problem, at_ms, signal),
        },
      },
      {
        track: this.#microphone?.getAudioTracks()[0] ?? null,
        speaker: this.#speaker,
        session: {
          type: "realtime",
          // Clients of the Realtime API are not greeted, but for those who ask.
          greeting: config.defaults.greeting,
          ...this.#session,
          include: withHeardText(this.#session.include),
          // Who goes on with a conversation is not greeted again.
          ...(history.length > 0 && { greeting: "" }),
        },
      },
      signal,
    );
    this.#connection = connection;
    this.#transport = transport;
    for (const event of history) this.#send(event);
    this.#setState(this.#floor.state);
  }

  /** Makes a broken call again, with growing patience. */
  async #reconnect(problem, lost_ms, signal) {
    this.#connection = null;
    this.#settle(lost_ms);
    this.#setState("reconnecting");
    let last = problem;
    for (const [index, delay_ms] of RETRY_DELAYS_MS.entries()) {
      const tries = `try ${index + 1} of ${RETRY_DELAYS_MS.length}`;
      this.#tellProblem(new Problem("reconnecting", `${last.message} Calling again, ${tries}…`));
      const asked_ms = Math.min(last.retryAfterS ?? 0, LONGEST_RETRY_AFTER_S) * 1000;
      try {
        await wait(Math.max(delay_ms, asked_ms), signal);
        await this.#connect(signal);
        return;
      } catch (error) {
        if (signal.aborted || !(error instanceof Problem && error.retryable))
          return this.#giveUp(error, signal);
        last = error;
      }
    }
    this.#giveUp(last, signal);
  }

  #giveUp(error, signal) {
    if (signal.aborted) return;
    this.#end();
    this.#setState("failed");
    this.#tellProblem(error);
  }

  #end() {
    this.#calling.abort();
    this.#calling = new AbortController();
    this.#connection = null;
    this.#audio.srcObject = null;
    if (this.#ownsMicrophone) stopTracks(this.#microphone);
    if (this.#microphone) this.#setMicrophone(null, false);
    this.#settle(performance.now());
  }

  /** Nothing more will come, nor be heard. @param {number} at_ms since when, as `performance.now()` tells it */
  #settle(at_ms) {
    const speed = this.#session.audio?.output?.speed ?? this.#config?.defaults.speed ?? 1;
    this.#announce(this.#conversation.settleAll(this.#hearing.breakOff(at_ms, speed)));
  }

  #onTrack(track, stream) {
    this.#audio.srcObject = stream;
    this.#play();
    this.#emit("remotetrack", { track, stream });
  }

  async #play() {
    try {
      await this.#audio.play();
    } catch (error) {
      // An AbortError says only that the call ended before its sound began.
      if (error.name !== "NotAllowedError") return;
      this.#tellProblem(
        new Problem("audio-blocked", "The browser keeps the sound off until you press “Turn on the sound”.", {
          cause: error,
        }),
      );
    }
  }

  #onEvent(event) {
    this.#emit("event", event);
    if (event.type === "error" && event.error.code === "conversation_already_has_active_response") {
      this.#replyOwed = true; // the caller wrote just as the answer to something spoken began
      return;
    }
    if (event.type === "error" && HARMLESS_ERRORS.has(event.error.code)) return;
    this.#announce(this.#conversation.apply(event));
    this.#floor.apply(event);
    this.#hearing.apply(event, performance.now());
    if (event.type === "vk.turn.latency") this.#onLatency(event);
    if (event.type === "error")
      this.#tellProblem(new Problem(event.error.code ?? event.error.type, event.error.message));
    if (event.type === "response.done" && event.response.status === "failed") {
      const cause = event.response.status_details?.error;
      this.#tellProblem(
        new Problem(
          cause?.code ?? "response-failed",
          cause?.message ?? "The server could not answer this time. Say it again.",
        ),
      );
    }
    if (event.type === "response.done" && this.#replyOwed) {
      this.#replyOwed = false;
      this.#send({ type: "response.create" });
      this.#floor.expectReply();
    }
    this.#followFloor();
  }

  async #onLatency(event) {
    const network = (await this.#connection?.networkDelay()) ?? null;
    this.#emit("latency", turnLatency(event, network));
  }

  #followFloor() {
    // While the connection is being made, that is the state.
    if (this.#connection && this.inCall) this.#setState(this.#floor.state);
  }

  #announce(changes) {
    for (const change of changes) {
      this.#emit("item", { kind: change.kind, item: change.item });
      if (change.kind !== "removed" && change.item.text !== "") {
        this.#emit("transcript", { item: change.item, delta: change.delta });
      }
    }
  }

  #setState(state) {
    const previous = this.#state;
    if (state === previous) return;
    this.#state = state;
    this.#emit("state", { state, previous });
  }

  #tellProblem(error) {
    const known =
      error instanceof Problem ? error : new Problem("unexpected", `Something went wrong: ${error}`);
    if (known.code === "unexpected") console.error(error);
    this.#emit("problem", { code: known.code, message: known.message, retryAfterS: known.retryAfterS });
  }

  #send(event) {
    this.#connection?.send(event);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The client needs to know what was heard of an answer cut short: that is what it gives a new session. */
function withHeardText(include = []) {
  return [...new Set([...include, "vk.heard_text"])];
}

/** @param {MediaStream | null} stream */
function stopTracks(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function randomHex(bytes) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
