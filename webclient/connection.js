/**
 * One WebRTC connection to the server, set up as any client of the Realtime API does it: offer and answer, the
 * event channel, its end.
 *
 * A connection is used once. It knows nothing of conversations and never tries again: see voice-client.js.
 */

import { silentFor_ms } from "./hearing.js";
import { keyHeaders } from "./key.js";
import { NetworkMeter } from "./latency.js";
import { iceProblem, lostProblem, refusalProblem, unreachableProblem } from "./problems.js";
import { deferred } from "./waiting.js";

const CALLS_PATH = "v1/realtime/calls";
const CHANNEL_LABEL = "oai-events";
/** How long connecting may take, where the server does not say. */
const CONNECT_TIMEOUT_S = 15;
/**
 * The Realtime API has no way to add candidates to an offer. One without any would do where the caller's own checks
 * get through; but a server behind a firewall or a NAT must send first, and one that has an address of a TURN server
 * must let the caller in there: for both it must know where the caller is. So the offer waits for the candidates,
 * but not until browsers call them complete: Chromium takes 0.1 s more to list TCP's, and 10 s where a STUN server is
 * silent.
 */
const GATHERING_LIMIT_MS = 500;
/** Each network has its own candidates; those of one kind come close together. */
const NEXT_NETWORK_MS = 20;
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
  /** Whether this side has a way that the server could take. */
  #reachable = false;
  /** The kind of candidate that takes longest to come. @type {RTCIceCandidateType} */
  #furthest;
  #gathered = deferred();
  #searchTimer = 0;
  #disconnectedTimer = 0;
  /** Since when nothing has come, if that is so. @type {number | null} */
  #silentSince_ms = null;
  #ready = deferred();

  /**
   * @param {object} options
   * @param {URL} options.server what `v1/realtime/calls` is relative to
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
    this.#furthest = furthestKind(config.ice_servers);
    this.#peer = new RTCPeerConnection({ iceServers: config.ice_servers, bundlePolicy: "max-bundle" });
    this.#peer.addEventListener("icecandidate", ({ candidate }) => this.#onCandidate(candidate));
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
    if (this.#callId !== null) this.#hangUp();
  }

  async #dial(session) {
    await this.#peer.setLocalDescription();
    const limit = setTimeout(this.#gathered.resolve, GATHERING_LIMIT_MS);
    await this.#gathered.promise;
    clearTimeout(limit);
    if (this.#closed) throw lostProblem();
    const body = new FormData();
    body.set("sdp", this.#peer.localDescription.sdp);
    body.set("session", JSON.stringify(session));
    const answer = await this.#post(body);
    // A proxy may leave it out. The call ends with its connection then.
    this.#callId = answer.headers.get("Location")?.split("/").pop() ?? null;
    if (this.#closed) {
      // Hung up before the server had answered: it must not keep the line.
      if (this.#callId !== null) this.#hangUp();
      throw lostProblem();
    }
    await this.#peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    if (this.#patience_ms && !this.#pathFound)
      this.#searchTimer = setTimeout(() => this.#fail(iceProblem()), this.#patience_ms);
  }

  get #pathFound() {
    return ["connected", "completed"].includes(this.#peer.iceConnectionState);
  }

  #onIceState() {
    if (this.#pathFound) clearTimeout(this.#searchTimer);
  }

  async #post(body) {
    let response;
    try {
      response = await fetch(new URL(CALLS_PATH, this.#server), {
        method: "POST",
        headers: keyHeaders(this.#key),
        body,
      });
    } catch (error) {
      throw unreachableProblem(error);
    }
    if (response.ok) return response;
    const { error } = await response.json().catch(() => ({}));
    throw refusalProblem(response.status, error ?? {}, response.headers.get("Retry-After"));
  }

  #hangUp() {
    const url = new URL(`${CALLS_PATH}/${encodeURIComponent(this.#callId)}/hangup`, this.#server);
    // A call that is already over on the server, or a server that is gone, is what we wanted.
    fetch(url, { method: "POST", keepalive: true, headers: keyHeaders(this.#key) }).catch(() => {});
  }

  /** @param {RTCIceCandidate | null} candidate null: there are no more */
  #onCandidate(candidate) {
    if (candidate === null) {
      if (this.#reachable) this.#gathered.resolve();
      else this.#fail(iceProblem());
      return;
    }
    this.#reachable ||= candidate.protocol === "udp" || candidate.type === "relay";
    if (this.#reachable && candidate.type === this.#furthest)
      setTimeout(this.#gathered.resolve, NEXT_NETWORK_MS);
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

/** @param {RTCIceServer[]} servers */
function furthestKind(servers) {
  const urls = servers.flatMap((server) => server.urls);
  if (urls.length === 0) return "host";
  return urls.some((url) => /^turns?:/i.test(url)) ? "relay" : "srflx";
}
