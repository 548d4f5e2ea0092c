/**
 * Who has the floor, told from the server's Realtime events. Pure: no clock, no I/O.
 *
 * @typedef {"listening" | "hearing" | "thinking" | "speaking"} FloorState
 */

export class Floor {
  #callerSpeaks = false;
  #replyExpected = false;
  /**
   * Responses being made, those whose sound is awaited, and those whose sound is playing: a response may be
   * whole before its sound begins, and its sound may begin before it is whole.
   */
  #made = new Set();
  #awaited = new Set();
  #playing = new Set();

  /** @returns {FloorState} */
  get state() {
    if (this.#callerSpeaks) return "hearing";
    if (this.#playing.size > 0) return "speaking";
    if (this.#replyExpected || this.#made.size > 0 || this.#awaited.size > 0) return "thinking";
    return "listening";
  }

  /** Whether a response is being made. */
  get making() {
    return this.#made.size > 0;
  }

  /** Whether a response's sound is playing, or will. */
  get sounding() {
    return this.#playing.size > 0 || this.#awaited.size > 0;
  }

  /** The caller asked for a response in writing. */
  expectReply() {
    this.#replyExpected = true;
  }

  /** @param {{type: string, [field: string]: any}} event */
  apply(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#callerSpeaks = true;
        break;
      case "input_audio_buffer.speech_stopped":
        this.#callerSpeaks = false;
        this.#replyExpected = true;
        break;
      case "response.created":
        this.#replyExpected = false;
        this.#made.add(event.response.id);
        if (event.response.output_modalities?.includes("audio")) this.#awaited.add(event.response.id);
        break;
      case "response.done":
        this.#made.delete(event.response.id);
        if (isSilent(event.response)) this.#awaited.delete(event.response.id);
        break;
      case "output_audio_buffer.started":
        this.#awaited.delete(event.response_id);
        this.#playing.add(event.response_id);
        break;
      case "output_audio_buffer.stopped":
      case "output_audio_buffer.cleared":
        this.#awaited.delete(event.response_id);
        this.#playing.delete(event.response_id);
        break;
      case "conversation.item.truncated":
        // Cut short before its first sound, which then never comes.
        this.#awaited.clear();
        break;
      case "conversation.item.input_audio_transcription.completed":
        // Nothing was said after all: no reply will come.
        if (event.transcript.trim() === "") this.#replyExpected = false;
        break;
      case "conversation.item.input_audio_transcription.failed":
      case "conversation.item.deleted":
      case "error":
        this.#replyExpected = false;
        break;
      case "vk.conversation.reset":
        this.#replyExpected = false;
        this.#made.clear();
        this.#awaited.clear();
        this.#playing.clear();
        break;
    }
  }
}

/** Whether nothing of a response that is done will sound (any more). */
function isSilent({ status, output }) {
  if (status === "cancelled" || status === "failed") return true;
  const parts = output?.flatMap((item) => item.content ?? []);
  return parts?.every((part) => !(part.transcript ?? part.text)) ?? false;
}
