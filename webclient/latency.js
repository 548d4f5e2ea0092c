/**
 * The latency of a turn as the caller's ear has it: the server's stages, and the network's part.
 *
 * @typedef {{name: string, start_ms: number, duration_ms: number}} Stage
 * @typedef {{response_id: string, item_id: string, stages: Stage[], server_ms: number, total_ms: number}} TurnLatency
 * @typedef {{round_trip_ms: number, jitter_buffer_ms: number}} NetworkDelay
 */

/**
 * Adds the network to a `vk.turn.latency` event: the way there, the way back, and the wait in the
 * browser's jitter buffer. It is drawn after the server's stages, although half a round trip lies before.
 *
 * @param {{response_id: string, item_id: string, stages: Stage[], total_ms: number}} event
 * @param {NetworkDelay | null} network null where the browser cannot say
 * @returns {TurnLatency}
 */
export function turnLatency({ response_id, item_id, stages, total_ms: server_ms }, network) {
  if (!network) return { response_id, item_id, stages, server_ms, total_ms: server_ms };
  const duration_ms = network.round_trip_ms + network.jitter_buffer_ms;
  return {
    response_id,
    item_id,
    stages: [...stages, { name: "network", start_ms: server_ms, duration_ms }],
    server_ms,
    total_ms: server_ms + duration_ms,
  };
}

/** Reads the network's delay out of a peer connection's statistics, each time since the last reading. */
export class NetworkMeter {
  #delay_s = 0;
  #emitted = 0;

  /**
   * @param {Iterable<[string, any]>} stats an RTCStatsReport
   * @returns {NetworkDelay | null}
   */
  read(stats) {
    const reports = [...stats].map(([, report]) => report);
    const pair =
      reports.find((r) => r.type === "candidate-pair" && r.nominated && r.state === "succeeded") ??
      reports.find((r) => r.type === "candidate-pair" && r.currentRoundTripTime !== undefined);
    if (pair?.currentRoundTripTime === undefined) return null;
    const inbound = reports.find((r) => r.type === "inbound-rtp" && r.kind === "audio");
    return {
      round_trip_ms: pair.currentRoundTripTime * 1000,
      jitter_buffer_ms: this.#jitterBuffer_ms(
        inbound?.jitterBufferDelay ?? 0,
        inbound?.jitterBufferEmittedCount ?? 0,
      ),
    };
  }

  /** `jitterBufferDelay` sums the wait of every sample: the mean is its growth over theirs. */
  #jitterBuffer_ms(delay_s, emitted) {
    const samples = emitted - this.#emitted;
    const mean_ms = samples > 0 ? ((delay_s - this.#delay_s) / samples) * 1000 : 0;
    this.#delay_s = delay_s;
    this.#emitted = emitted;
    return mean_ms;
  }
}
