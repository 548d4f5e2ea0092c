/**
 * Reaches the server by whatever way there is: WebRTC where UDP gets through, else a WebSocket.
 *
 * @typedef {"webrtc" | "websocket"} Transport
 */

import { Connection } from "./connection.js";
import { Problem } from "./problems.js";
import { SocketConnection } from "./socket-connection.js";
import { wait } from "./waiting.js";

const CONNECTIONS = { webrtc: Connection, websocket: SocketConnection };

/** ICE finds a way within a second or two, if there is one; who waits longer is better off without it. */
const PATIENCE_MS = 4000;
/** The line of the try before may be a moment in coming free: so often, and so long apart, it is asked for. */
const FULL_TRIES = 5;
const FULL_DELAY_MS = 800;

export class Dialler {
  #choice;
  #connections;
  /** UDP did not get through where TCP did: it is not tried again on this network. */
  #noUdp = false;

  /**
   * @param {"auto" | Transport} choice `auto` falls back to the WebSocket by itself
   * @param {typeof CONNECTIONS} connections
   */
  constructor(choice = "auto", connections = CONNECTIONS) {
    this.#choice = choice;
    this.#connections = connections;
    // Another network may be another matter.
    globalThis.addEventListener?.("online", () => (this.#noUdp = false));
  }

  /** In what order they are tried. @returns {Transport[]} */
  get #order() {
    if (this.#choice !== "auto") return [this.#choice];
    return this.#noUdp ? ["websocket"] : ["webrtc", "websocket"];
  }

  /**
   * @param {object} options of `Connection`
   * @param {object} offer of its `open`
   * @param {AbortSignal} signal hangs up
   * @returns {Promise<{connection: Connection | SocketConnection, transport: Transport}>} open
   * @throws {Problem}
   */
  async dial(options, offer, signal) {
    const order = this.#order;
    const [first, second] = order;
    try {
      const patience_ms = second && PATIENCE_MS;
      return await this.#open(first, { ...options, patience_ms }, offer, signal);
    } catch (error) {
      signal.throwIfAborted();
      const noPath = error instanceof Problem && error.code === "ice-failed";
      if (!second && error.code === "server-unreachable") this.#noUdp = false;
      if (!second || !noPath) throw error;
      return await this.#fallBack(second, options, offer, signal, error);
    }
  }

  async #fallBack(transport, options, offer, signal, noPath) {
    for (let tries = 1; ; tries += 1) {
      try {
        const opened = await this.#open(transport, options, offer, signal);
        this.#noUdp = true;
        return opened;
      } catch (error) {
        signal.throwIfAborted();
        // No way at all: what UDP lacks is what an operator can do something about.
        if (error.code === "server-unreachable") throw noPath;
        if (error.code !== "server_full" || tries === FULL_TRIES) throw error;
        await wait(FULL_DELAY_MS, signal);
      }
    }
  }

  async #open(transport, options, offer, signal) {
    const connection = new this.#connections[transport](options);
    const close = () => connection.close();
    signal.addEventListener("abort", close, { once: true });
    try {
      await connection.open(offer);
    } catch (error) {
      signal.removeEventListener("abort", close);
      throw error;
    }
    signal.throwIfAborted();
    return { connection, transport };
  }
}
