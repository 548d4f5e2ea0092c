/**
 * Between the Realtime API's events, which the page speaks, and the messages of `/ws` (docs/websocket.md).
 * Pure: no clock, no I/O.
 */

/** A message's `id` by which its refusal is known, and passed over. */
export const PLAYED_ID = "played";

/**
 * Session settings in the Realtime API's shape, as `/ws` writes them.
 *
 * @param {object} session
 * @returns {object} only what the session says
 */
export function flatSettings({ instructions, greeting, max_output_tokens, output_modalities, audio = {} }) {
  const { input = {}, output = {} } = audio;
  const settings = {
    instructions,
    greeting,
    max_output_tokens,
    modality: output_modalities?.[0],
    voice: output.voice,
    speed: output.speed,
    language: input.transcription?.language === undefined ? undefined : input.transcription.language || null,
    turn_detection: input.turn_detection,
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

/**
 * @param {{type: string, [field: string]: any}} event a Realtime client event
 * @returns {object[]} what says the same
 */
export function messagesOf(event) {
  switch (event.type) {
    case "session.update":
      return [{ type: "settings", settings: flatSettings(event.session) }];
    case "conversation.item.create":
      return [{ type: "item", item: writtenItem(event.item), previous_item_id: event.previous_item_id }];
    case "conversation.item.delete":
      return [{ type: "delete_item", item_id: event.item_id }];
    case "conversation.item.truncate":
      return [{ type: "played", item_id: event.item_id, audio_ms: event.audio_end_ms }];
    case "response.create":
      return [responseWish(event.response ?? {})];
    case "output_audio_buffer.clear":
      return [{ type: "interrupt" }];
    case "input_audio_buffer.commit":
      return [{ type: "commit" }];
    case "input_audio_buffer.clear":
      return [{ type: "clear" }];
    case "vk.conversation.reset":
      return [{ type: "reset" }];
    default:
      // To cancel is to interrupt, which goes with it.
      return [];
  }
}

/** @param {object} item as `conversation.item.create` has it */
export function writtenItem({ id, role, content }) {
  return { item_id: id, role, text: content.map((part) => part.text ?? part.transcript ?? "").join("") };
}

function responseWish({ instructions, output_modalities, max_output_tokens }) {
  return { type: "respond", instructions, modality: output_modalities?.[0], max_output_tokens };
}

/** What the server says, one message after the other. */
export class ServerWords {
  /** @type {Map<string, "audio" | "text">} of responses that are not over */
  #modalities = new Map();

  /**
   * @param {{type: string, [field: string]: any}} message
   * @returns {{type: string, [field: string]: any}[]} the Realtime events that say the same
   */
  eventsOf(message) {
    switch (message.type) {
      case "started":
        return [{ type: "session.created", session: sessionOf(message.settings) }];
      case "settings":
        return [{ type: "session.updated", session: sessionOf(message.settings) }];
      case "speech_started":
        return [
          {
            type: "input_audio_buffer.speech_started",
            item_id: message.item_id,
            audio_start_ms: message.at_ms,
          },
        ];
      case "speech_stopped":
        return [
          { type: "input_audio_buffer.speech_stopped", item_id: message.item_id, audio_end_ms: message.at_ms },
        ];
      case "transcription":
        return [transcriptionEvent(message)];
      case "item":
        return this.#itemEvents(message);
      case "item_deleted":
        return [{ type: "conversation.item.deleted", item_id: message.item_id }];
      case "input_cleared":
        return [{ type: "input_audio_buffer.cleared" }];
      case "response_started":
        this.#modalities.set(message.response_id, message.modality);
        return [{ type: "response.created", response: this.#response(message, "in_progress") }];
      case "response_text":
        return [this.#textEvent(message)];
      case "playback":
        return message.state === "started"
          ? [{ type: "output_audio_buffer.started", response_id: message.response_id }]
          : [];
      case "interrupted":
        return [{ type: "output_audio_buffer.cleared", response_id: message.response_id }];
      case "truncated":
        return [
          {
            type: "conversation.item.truncated",
            item_id: message.item_id,
            content_index: 0,
            audio_end_ms: message.heard_ms,
            transcript: message.heard_text,
          },
        ];
      case "conversation_complete":
        return this.#endEvents(message);
      case "latency":
        return [{ ...message, type: "vk.turn.latency" }];
      case "reset":
        this.#modalities.clear();
        return [{ type: "vk.conversation.reset" }];
      case "error":
        return message.reply_to === PLAYED_ID ? [] : [errorEvent(message)];
      default:
        return [];
    }
  }

  #itemEvents({ item, previous_item_id, response_id }) {
    const part = item.role === "assistant" ? "output_text" : "input_text";
    const wire = {
      id: item.item_id,
      type: "message",
      role: item.role,
      status: item.status,
      content: item.text ? [{ type: part, text: item.text }] : [],
    };
    const added = { type: "conversation.item.added", previous_item_id, item: wire };
    return response_id ? [{ type: "response.output_item.added", response_id, item: wire }, added] : [added];
  }

  #textEvent({ response_id, item_id, delta, text, final }) {
    const spoken = this.#modalities.get(response_id) === "audio";
    const base = spoken ? "response.output_audio_transcript" : "response.output_text";
    if (!final) return { type: `${base}.delta`, response_id, item_id, delta };
    return { type: `${base}.done`, response_id, item_id, [spoken ? "transcript" : "text"]: text };
  }

  #endEvents(message) {
    const { response_id, item_id, text, status, failed } = message;
    const spoken = this.#modalities.get(response_id) === "audio";
    const response = this.#response(message, status === "interrupted" ? "cancelled" : status);
    const part = spoken ? { type: "output_audio", transcript: text } : { type: "output_text", text };
    response.output = item_id ? [{ id: item_id, type: "message", role: "assistant", content: [part] }] : [];
    if (failed) response.status_details = { type: "failed", error: failed };
    this.#modalities.delete(response_id);
    const done = { type: "response.done", response };
    const heardOut = spoken && ["completed", "incomplete"].includes(status);
    return heardOut ? [done, { type: "output_audio_buffer.stopped", response_id }] : [done];
  }

  #response({ response_id }, status) {
    return { id: response_id, status, output_modalities: [this.#modalities.get(response_id) ?? "audio"] };
  }
}

function transcriptionEvent({ item_id, text, delta, final, failed }) {
  const base = "conversation.item.input_audio_transcription";
  if (!final) return { type: `${base}.delta`, item_id, content_index: 0, delta };
  if (failed) return { type: `${base}.failed`, item_id, content_index: 0, error: failed };
  return { type: `${base}.completed`, item_id, content_index: 0, transcript: text };
}

function errorEvent({ fault, code, message, param }) {
  const type = fault === "client" ? "invalid_request_error" : "server_error";
  return { type: "error", error: { type, code, message, param } };
}

function sessionOf(settings) {
  const { instructions, modality, voice, speed, language, max_output_tokens, turn_detection } = settings;
  return {
    type: "realtime",
    instructions,
    output_modalities: [modality],
    max_output_tokens,
    audio: {
      input: { transcription: { language }, turn_detection: turn_detection ?? null },
      output: { voice, speed },
    },
  };
}
