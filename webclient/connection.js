/**
 * One WebRTC connection to the server: offer and answer, trickled candidates, the event channel, its end.
 *
 * A connection is used once. It knows nothing of conversations and never tries again: see voice-client.js.
 */

import { silentFor_ms } from "./hearing.js";
import { keyHeaders } from "./key.js";
import { NetworkMeter } from "./latency.js";
import { iceProblem, lostProblem, refusalProblem, unreachableProblem } from "./problems.js";
import { deferred } from "./waiting.js";

const CHANNEL_LABEL = "oai-events";
/** How long connecting may take, where the server does not say. */
const CONNECT_TIMEOUT_S = 15;
/** ICE often recovers by itself from "disconnected"; after this long it is taken for lost. */
const DISCONNECTED_LIMIT_MS = 5000;

export class Connection {
  #server;
  #key;
  #listener;
  #timeout_ms;
  #patience_ms;
  #peer;
  #channel;
  #sender = null;
  #meter = new NetworkMeter();

  #callId = null;
  #closed = false;
  #opened = false;
  #waitingCandidates = [];
  /** Whether this side has a way that the server could take. */
  #reachable = false;
  #searchTimer = 0;
  #trickling = Promise.resolve();
  #disconnectedTimer = 0;
  /** Since when nothing has come, if that is so. @type {number | null} */
  #silentSince_ms = null;
  #ready = deferred();

  /**
   * @param {object} options
   * @param {URL} options.server what `api/offer` is relative to
   * @param {string | null} options.key where the server asks for one
   * @param {{ice_servers: RTCIceServer[], connect_timeout_s?: number}} options.config
   * @param {number} [options.patience_ms] how long a path is looked for, once the server has answered
   * @param {{onEvent: (event: any) => void, onTrack: (track: MediaStreamTrack, stream: MediaStream) => void,
   *   onLost: (problem: import("./problems.js").Problem, at_ms: number) => void}} options.listener `at_ms`:
   *   since when nothing came, as `performance.now()` tells it
   */
  constructor({ server, key, config, listener, patience_ms }) {
    this.#patience_ms = patience_ms;
    this.#server = server;
    this.#key = key;
    this.#listener = listener;
    this.#timeout_ms = (config.connect_timeout_s ?? CONNECT_TIMEOUT_S) * 1000;
    this.#peer = new RTCPeerConnection({ iceServers: config.ice_servers, bundlePolicy: "max-bundle" });
    this.#peer.addEventListener("icecandidate", ({ candidate }) => this.#trickle(candidate));
    this.#peer.addEventListener("iceconnectionstatechange", () => this.#onIceState());
    this.#peer.addEventListener("connectionstatechange", () => this.#onConnectionState());
    this.#peer.addEventListener("track", ({ track, streams }) =>
      listener.onTrack(track, streams[0] ?? new MediaStream([track])),
    );
    this.#channel = this.#peer.createDataChannel(CHANNEL_LABEL);
    this.#channel.addEventListener("message", ({ data }) => this.#onMessage(data));
    this.#channel.addEventListener("close", () => this.#fail(lostProblem()));
  }

  /**
   * Connects; done when the server has announced the session.
   *
   * @param {object} offer
   * @param {MediaStreamTrack | null} offer.track the caller's voice, if there is one
   * @param {boolean} offer.speaker whether the answers' sound is wanted
   * @param {object} offer.session the session's settings
   * @throws {Problem}
   */
  async open({ track, speaker, session }) {
    const deadline = setTimeout(
      () => this.#fail(this.#callId === null ? unreachableProblem("timeout") : iceProblem()),
      this.#timeout_ms,
    );
    try {
      if (track) {
        const transceiver = this.#peer.addTransceiver(track, {
          direction: speaker ? "sendrecv" : "sendonly",
        });
        this.#sender = transceiver.sender;
      } else if (speaker) {
        this.#peer.addTransceiver("audio", { direction: "recvonly" });
      }
      await Promise.race([this.#dial(session), this.#ready.promise]);
      await this.#ready.promise;
      this.#opened = true;
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(deadline);
    }
  }

  /** @param {{type: string, [field: string]: any}} event a Realtime client event */
  send(event) {
    if (this.#channel.readyState === "open") this.#channel.send(JSON.stringify(event));
  }

  /** Speaks from another microphone from now on. @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    await this.#sender?.replaceTrack(track);
  }

  /** Nothing of it is held back: an audio element plays the sound, or does not. */
  unblock() {}

  /** @returns {Promise<import("./latency.js").NetworkDelay | null>} */
  async networkDelay() {
    if (this.#closed) return null;
    return this.#meter.read(await this.#peer.getStats());
  }

  /** Ends the call on both sides; the request outlives the page that makes it. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#disconnectedTimer);
    clearTimeout(this.#searchTimer);
    this.#ready.reject(lostProblem());
    this.#peer.close();
    if (this.#callId !== null) this.#deleteCall();
  }

  async #dial(session) {
    await this.#peer.setLocalDescription();
    const { sdp, type } = this.#peer.localDescription;
    const answer = await this.#post("api/offer", { sdp, type, session });
    this.#callId = answer.call_id;
    if (this.#closed) {
      // Hung up before the server had answered: it must not keep the line.
      this.#deleteCall();
      throw lostProblem();
    }
    await this.#peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    this.#flushCandidates();
    if (this.#patience_ms && !this.#pathFound)
      this.#searchTimer = setTimeout(() => this.#fail(iceProblem()), this.#patience_ms);
  }

  get #pathFound() {
    return ["connected", "completed"].includes(this.#peer.iceConnectionState);
  }

  #onIceState() {
    if (this.#pathFound) clearTimeout(this.#searchTimer);
  }

  async #post(path, body) {
    let response;
    try {
      response = await fetch(new URL(path, this.#server), {
        method: "POST",
        headers: { "Content-Type": "application/json", ...keyHeaders(this.#key) },
        body: JSON.stringify(body),
      });
    } catch (error) {
      throw unreachableProblem(error);
    }
    const reply = await response.json().catch(() => ({}));
    if (!response.ok) throw refusalProblem(response.status, reply, response.headers.get("Retry-After"));
    return reply;
  }

  get #callUrl() {
    return new URL(`api/calls/${encodeURIComponent(this.#callId)}`, this.#server);
  }

  #deleteCall() {
    // A call that is already over on the server, or a server that is gone, is what we wanted.
    const headers = keyHeaders(this.#key);
    fetch(this.#callUrl, { method: "DELETE", keepalive: true, headers }).catch(() => {});
  }

  /** @param {RTCIceCandidate | null} candidate null, or an empty one: there are no more, which needs no telling */
  #trickle(candidate) {
    if (candidate === null && !this.#reachable) this.#fail(iceProblem());
    if (!candidate?.candidate) return;
    this.#reachable ||= candidate.protocol === "udp" || candidate.type === "relay";
    this.#waitingCandidates.push(candidate.toJSON());
    if (this.#callId !== null) this.#flushCandidates();
  }

  /** Sends what has gathered, one request after the other, so that they arrive in order. */
  #flushCandidates() {
    this.#trickling = this.#trickling.then(async () => {
      const candidates = this.#waitingCandidates.splice(0);
      if (candidates.length === 0 || this.#closed) return;
      try {
        await fetch(this.#callUrl, {
          method: "PATCH",
          headers: { "Content-Type": "application/json", ...keyHeaders(this.#key) },
          body: JSON.stringify({ candidates }),
        });
      } catch {
        // ICE may still find a way without these; if it does not, it says so itself.
      }
    });
  }

  #onMessage(data) {
    const event = JSON.parse(data);
    if (event.type === "session.created") this.#ready.resolve();
    this.#listener.onEvent(event);
  }

  #onConnectionState() {
    clearTimeout(this.#disconnectedTimer);
    switch (this.#peer.connectionState) {
      case "connected":
        this.#silentSince_ms = null;
        break;
      case "failed":
        this.#fail(this.#opened ? lostProblem() : iceProblem());
        break;
      case "disconnected":
        this.#noteSilence();
        this.#disconnectedTimer = setTimeout(() => this.#fail(lostProblem()), DISCONNECTED_LIMIT_MS);
        break;
    }
  }

  async #noteSilence() {
    this.#silentSince_ms = performance.now();
    const silent_ms = silentFor_ms(await this.#peer.getStats());
    if (this.#silentSince_ms !== null) this.#silentSince_ms -= silent_ms;
  }

  #fail(problem) {
    if (this.#closed) return;
    this.#ready.reject(problem);
    if (!this.#opened) return;
    this.close();
    this.#listener.onLost(problem, this.#silentSince_ms ?? performance.now());
  }
}
