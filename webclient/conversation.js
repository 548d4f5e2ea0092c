/**
 * The conversation so far, told from the server's Realtime events. Pure: no clock, no I/O.
 *
 * @typedef {object} Item
 * @property {string} id
 * @property {"user" | "assistant"} role
 * @property {string} text everything said, transcribed or about to be said
 * @property {string | null} heard what the caller heard of it, where it was cut short and the server says
 * @property {boolean} interrupted whether it was cut short
 * @property {boolean} final whether the text is settled
 * @property {boolean} failed whether it could not be transcribed
 *
 * @typedef {object} Change
 * @property {"added" | "changed" | "removed"} kind
 * @property {Item} item
 * @property {string} [delta] what this change appended
 */

const ROLES = new Set(["user", "assistant"]);

export class Conversation {
  /** @type {Item[]} in the order of the conversation */
  #items = [];

  /** @returns {Item[]} copies: changing them changes nothing here */
  get items() {
    return this.#items.map((item) => ({ ...item }));
  }

  /**
   * Takes in one server event; events that say nothing about the conversation change nothing.
   *
   * @param {{type: string, [field: string]: any}} event
   * @returns {Change[]}
   */
  apply(event) {
    switch (event.type) {
      case "conversation.item.added":
      case "conversation.item.done":
      case "response.output_item.added":
      case "response.output_item.done":
        return this.#describe(event.item, event.previous_item_id);
      case "conversation.item.input_audio_transcription.delta":
        return this.#append(event.item_id, "user", event.delta);
      case "conversation.item.input_audio_transcription.completed":
        return this.#settle(event.item_id, "user", event.transcript);
      case "conversation.item.input_audio_transcription.failed":
        return this.#change(event.item_id, "user", { final: true, failed: true });
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        return this.#append(event.item_id, "assistant", event.delta);
      case "response.output_audio_transcript.done":
        return this.#settleAnswer(event.item_id, event.transcript);
      case "response.output_text.done":
        return this.#settleAnswer(event.item_id, event.text);
      case "conversation.item.truncated":
        return this.#truncate(event.item_id, event.transcript ?? null);
      case "conversation.item.deleted":
        return this.#remove(event.item_id);
      case "vk.conversation.reset":
        return this.clear();
      default:
        return [];
    }
  }

  /**
   * A message the caller typed; the server will echo it under the same id.
   *
   * @param {string} id
   * @param {string} text
   * @returns {Change[]}
   */
  addTyped(id, text) {
    return this.#change(id, "user", { text, final: true });
  }

  /** @returns {Change[]} */
  clear() {
    const removed = this.#items;
    this.#items = [];
    return removed.map((item) => ({ kind: "removed", item }));
  }

  /**
   * The client events that give a new session this conversation, as both sides heard it: of an answer that
   * was cut short, only the words that were heard.
   *
   * @returns {{type: "conversation.item.create", item: object}[]}
   */
  asCreateEvents() {
    return this.#items
      .map(({ id, role, text, heard }) => ({ id, role, text: (heard ?? text).trim() }))
      .filter(({ text }) => text !== "")
      .map(({ id, role, text }) => ({
        type: "conversation.item.create",
        item: {
          id,
          type: "message",
          role,
          content: [{ type: role === "user" ? "input_text" : "output_text", text }],
        },
      }));
  }

  /**
   * A connection ended: what was still forming stays as it is, and an answer that was still to be heard, in
   * part or whole, is cut after the words that can have been.
   *
   * @param {Map<string, number>} [heardWords] how many words, by the answers' ids: see hearing.js
   * @returns {Change[]}
   */
  settleAll(heardWords = new Map()) {
    return this.#items
      .filter((item) => !item.final || (heardWords.has(item.id) && !item.interrupted))
      .flatMap((item) =>
        heardWords.has(item.id)
          ? this.#truncate(item.id, firstWords(item.text, heardWords.get(item.id)))
          : this.#change(item.id, item.role, { final: true }),
      );
  }

  #describe(item, previousId) {
    if (item.type !== "message" || !ROLES.has(item.role)) return [];
    const text = (item.content ?? []).map((part) => part.text ?? part.transcript ?? "").join("");
    const known = this.#find(item.id);
    // A known item has its text from the deltas, which may be ahead of this description.
    if (known?.text || (known && !text)) return [];
    return this.#change(item.id, item.role, { text, final: text !== "" }, previousId);
  }

  #append(id, role, delta) {
    const known = this.#find(id);
    if (known?.final) return [];
    return this.#change(id, role, { text: (known?.text ?? "") + delta }).map((change) => ({
      ...change,
      delta,
    }));
  }

  #settle(id, role, text) {
    return this.#change(id, role, { text, final: true });
  }

  /** An answer cut short is done with fewer words than had come: all are kept, to show what was not heard. */
  #settleAnswer(id, text) {
    const known = this.#find(id);
    if (known?.interrupted) return [];
    const came = known?.text.trimEnd() ?? "";
    if (came.length > text.trimEnd().length && came.startsWith(text.trimEnd())) {
      return this.#change(id, "assistant", { heard: text, interrupted: true, final: true });
    }
    return this.#settle(id, "assistant", text);
  }

  #truncate(id, heard) {
    const known = this.#find(id);
    if (!known) return [];
    // Cut after its last word: nothing was missed.
    if (heard !== null && heard.trim() === known.text.trim())
      return this.#settle(id, "assistant", known.text);
    return this.#change(id, "assistant", { heard, interrupted: true, final: true });
  }

  #remove(id) {
    const item = this.#find(id);
    if (!item) return [];
    this.#items = this.#items.filter((other) => other !== item);
    return [{ kind: "removed", item }];
  }

  /** Changes an item, which begins to exist if it did not; after `previousId` where that is known. */
  #change(id, role, fields, previousId) {
    const known = this.#find(id);
    if (known) {
      Object.assign(known, fields);
      return [{ kind: "changed", item: { ...known } }];
    }
    const item = {
      id,
      role,
      text: "",
      heard: null,
      interrupted: false,
      final: false,
      failed: false,
      ...fields,
    };
    const previous = this.#items.findIndex((other) => other.id === previousId);
    this.#items.splice(previous < 0 ? this.#items.length : previous + 1, 0, item);
    return [{ kind: "added", item: { ...item } }];
  }

  #find(id) {
    return this.#items.find((item) => item.id === id);
  }
}

/**
 * Splits an item's text into what was heard and what was not.
 *
 * The server's transcript of the heard part may differ from the text in its spaces, so where it is no
 * plain beginning, its words are counted.
 *
 * @param {Item} item
 * @returns {[heard: string, unheard: string]}
 */
export function splitHeard({ text, heard }) {
  if (heard === null) return [text, ""];
  if (text.startsWith(heard)) return [heard, text.slice(heard.length)];
  const count = heard.split(/\s+/).filter(Boolean).length;
  const beginning = firstWords(text, count);
  return [beginning, text.slice(beginning.length)];
}

/** The beginning of a text that has so many words, with the white space around them. */
function firstWords(text, count) {
  return text.match(new RegExp(`^\\s*(?:\\S+\\s*){0,${count}}`))[0];
}
