/**
 * How much can have been heard of answers whose sound a broken connection cut off: of those the server, which
 * otherwise says it, can say nothing any more. Pure: times are given, no I/O.
 */

/** A little slower than Kokoro speaks at speed 1: better to say a word again than to count on one unheard. */
const WORDS_PER_S = 2.5;

/**
 * For how long no sound has come: ICE notices only seconds later that a connection broke.
 *
 * @param {Iterable<[string, any]>} stats an RTCStatsReport
 * @returns {number} 0 where the browser does not say, or the call has no sound
 */
export function silentFor_ms(stats) {
  const inbound = [...stats]
    .map(([, report]) => report)
    .find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
  return inbound?.lastPacketReceivedTimestamp
    ? Math.max(0, inbound.timestamp - inbound.lastPacketReceivedTimestamp)
    : 0;
}

/** @typedef {{itemId: string | null, started_ms: number | null}} Sounding */

export class Hearing {
  /** @type {Map<string, Sounding>} spoken responses whose sound has not ended, by their ids */
  #sounding = new Map();

  /**
   * @param {{type: string, [field: string]: any}} event
   * @param {number} now_ms
   */
  apply(event, now_ms) {
    switch (event.type) {
      case "response.created":
        if (event.response.output_modalities?.includes("audio"))
          this.#sounding.set(event.response.id, { itemId: null, started_ms: null });
        break;
      case "response.output_item.added":
        this.#note(event.response_id, { itemId: event.item.id });
        break;
      case "output_audio_buffer.started":
        this.#note(event.response_id, { started_ms: now_ms });
        break;
      case "output_audio_buffer.stopped":
      case "output_audio_buffer.cleared":
        this.#sounding.delete(event.response_id);
        break;
      case "vk.conversation.reset":
        this.#sounding.clear();
        break;
    }
  }

  /**
   * The sound broke off.
   *
   * @param {number} now_ms
   * @param {number} speed of the voice, 1 is its own
   * @returns {Map<string, number>} for each item that was still to sound or sounding, how many words of it can
   *   have been heard
   */
  breakOff(now_ms, speed) {
    const heard = [...this.#sounding.values()].map(({ itemId, started_ms }) => {
      const played_s = started_ms === null ? 0 : (now_ms - started_ms) / 1000;
      return [itemId, Math.floor(played_s * WORDS_PER_S * speed)];
    });
    this.#sounding.clear();
    return new Map(heard.filter(([itemId]) => itemId !== null));
  }

  #note(responseId, fields) {
    const known = this.#sounding.get(responseId);
    if (known) Object.assign(known, fields);
  }
}
