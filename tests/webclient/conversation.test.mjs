import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation, splitHeard } from "../../webclient/conversation.js";

const transcription = (kind, item_id, fields) => ({
  type: `conversation.item.input_audio_transcription.${kind}`,
  item_id,
  content_index: 0,
  ...fields,
});

function conversation(...events) {
  const told = new Conversation();
  for (const event of events) told.apply(event);
  return told;
}

test("interim transcripts append, and the completed one replaces them", () => {
  const told = conversation(
    transcription("delta", "u1", { delta: "how far" }),
    transcription("delta", "u1", { delta: " is the noon" }),
  );
  assert.equal(told.items[0].text, "how far is the noon");
  assert.equal(told.items[0].final, false);

  told.apply(transcription("completed", "u1", { transcript: "How far is the Moon?" }));
  assert.equal(told.items[0].text, "How far is the Moon?");
  assert.equal(told.items[0].final, true);
});

test("a description of a known item neither doubles it nor sets its text back", () => {
  const told = conversation(transcription("delta", "u1", { delta: "hello there" }), {
    type: "conversation.item.added",
    item: { id: "u1", type: "message", role: "user", content: [{ type: "input_audio", transcript: null }] },
  });
  assert.deepEqual(
    told.items.map(({ id, text }) => [id, text]),
    [["u1", "hello there"]],
  );
});

test("an item is put after the one the server names", () => {
  const item = (id) => ({ id, type: "message", role: "user", content: [] });
  const told = conversation(
    { type: "conversation.item.added", item: item("a") },
    { type: "conversation.item.added", item: item("c") },
    { type: "conversation.item.added", previous_item_id: "a", item: item("b") },
  );
  assert.deepEqual(
    told.items.map(({ id }) => id),
    ["a", "b", "c"],
  );
});

test("what is not a message of one of the two sides is left out", () => {
  const told = conversation(
    { type: "conversation.item.added", item: { id: "f", type: "function_call", name: "look_up" } },
    { type: "conversation.item.added", item: { id: "s", type: "message", role: "system", content: [] } },
  );
  assert.deepEqual(told.items, []);
});

test("an interrupted answer keeps all its words, and knows which were heard", () => {
  const told = conversation(
    { type: "response.output_audio_transcript.delta", item_id: "a1", delta: "One two three four." },
    { type: "conversation.item.truncated", item_id: "a1", audio_end_ms: 700, transcript: "One two" },
    { type: "response.output_audio_transcript.done", item_id: "a1", transcript: "One two" },
  );
  assert.equal(told.items[0].text, "One two three four.");
  assert.deepEqual(splitHeard(told.items[0]), ["One two", " three four."]);
});

test("an answer that is done with fewer words than came was cut short", () => {
  const told = conversation(
    { type: "response.output_audio_transcript.delta", item_id: "a1", delta: "One two three four. " },
    { type: "response.output_audio_transcript.done", item_id: "a1", transcript: "One two" },
    { type: "conversation.item.truncated", item_id: "a1", audio_end_ms: 700, transcript: "One two" },
    { type: "response.output_audio_transcript.delta", item_id: "a2", delta: "Whole. " },
    { type: "response.output_audio_transcript.done", item_id: "a2", transcript: "Whole." },
  );
  assert.deepEqual(
    told.items.map(({ text, heard, interrupted }) => [text, heard, interrupted]),
    [
      ["One two three four. ", "One two", true],
      ["Whole.", null, false],
    ],
  );
});

test("an answer cut after its last word was not interrupted", () => {
  const told = conversation(
    { type: "response.output_audio_transcript.done", item_id: "a1", transcript: "Paris." },
    { type: "conversation.item.truncated", item_id: "a1", audio_end_ms: 900, transcript: "Paris." },
  );
  assert.equal(told.items[0].interrupted, false);
});

test("the heard part is found by its words where its spaces differ", () => {
  assert.deepEqual(splitHeard({ text: "One  two,\nthree four.", heard: "One two, three" }), [
    "One  two,\nthree ",
    "four.",
  ]);
  assert.deepEqual(splitHeard({ text: "One two.", heard: "" }), ["", "One two."]);
  assert.deepEqual(splitHeard({ text: "One two.", heard: null }), ["One two.", ""]);
});

test("a new session is given what both sides heard, in order, under the same ids", () => {
  const told = conversation(
    transcription("completed", "u1", { transcript: "Count to four." }),
    { type: "response.output_audio_transcript.delta", item_id: "a1", delta: "One two three four." },
    { type: "conversation.item.truncated", item_id: "a1", audio_end_ms: 700, transcript: "One two" },
    transcription("failed", "u2", { error: { message: "no" } }),
    { type: "response.output_text.done", item_id: "a2", text: "Unheard." },
    { type: "conversation.item.truncated", item_id: "a2", audio_end_ms: 0, transcript: "" },
  );
  told.addTyped("u3", "Go on");
  assert.deepEqual(
    told.asCreateEvents().map(({ type, item }) => [type, item.id, item.role, ...item.content]),
    [
      ["conversation.item.create", "u1", "user", { type: "input_text", text: "Count to four." }],
      ["conversation.item.create", "a1", "assistant", { type: "output_text", text: "One two" }],
      ["conversation.item.create", "u3", "user", { type: "input_text", text: "Go on" }],
    ],
  );
});

test("a reset removes every item, and says so of each", () => {
  const told = conversation(transcription("completed", "u1", { transcript: "Hello." }), {
    type: "response.output_text.done",
    item_id: "a1",
    text: "Hello!",
  });
  const changes = told.apply({ type: "vk.conversation.reset" });
  assert.deepEqual(
    changes.map(({ kind, item }) => [kind, item.id]),
    [
      ["removed", "u1"],
      ["removed", "a1"],
    ],
  );
  assert.deepEqual(told.items, []);
});

test("nothing more comes to what was forming when the connection ended", () => {
  const told = conversation(transcription("delta", "u1", { delta: "I was say" }));
  assert.deepEqual(
    told.settleAll().map(({ item }) => item.final),
    [true],
  );
  assert.deepEqual(told.apply(transcription("delta", "u1", { delta: "ing" })), []);
});

test("items are copies", () => {
  const told = conversation(transcription("completed", "u1", { transcript: "Hello." }));
  told.items[0].text = "Goodbye.";
  assert.equal(told.items[0].text, "Hello.");
});
