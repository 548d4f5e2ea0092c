import assert from "node:assert/strict";
import { test } from "node:test";

import { Floor } from "../../webclient/floor.js";

const STARTED = { type: "input_audio_buffer.speech_started", item_id: "u1" };
const STOPPED = { type: "input_audio_buffer.speech_stopped", item_id: "u1" };
const CREATED = { type: "response.created", response: { id: "r1" } };
const DONE = { type: "response.done", response: { id: "r1", status: "completed" } };
const SOUND = { type: "output_audio_buffer.started", response_id: "r1" };
const SILENCE = { type: "output_audio_buffer.stopped", response_id: "r1" };
const CLEARED = { type: "output_audio_buffer.cleared", response_id: "r1" };

/** The state after each event. */
function states(...events) {
  const floor = new Floor();
  return events.map((event) => {
    floor.apply(event);
    return floor.state;
  });
}

test("a spoken turn", () => {
  assert.deepEqual(states(STARTED, STOPPED, CREATED, SOUND, DONE, SILENCE), [
    "hearing",
    "thinking",
    "thinking",
    "speaking",
    "speaking",
    "listening",
  ]);
});

test("a barge-in is heard at once, and the end of the old answer does not hide the new turn", () => {
  assert.deepEqual(states(CREATED, SOUND, STARTED, DONE, CLEARED, STOPPED), [
    "thinking",
    "speaking",
    "hearing",
    "hearing",
    "hearing",
    "thinking",
  ]);
});

test("an answer that is whole before its first sound is still to come", () => {
  const spoken = { type: "response.created", response: { id: "r1", output_modalities: ["audio"] } };
  assert.deepEqual(states(spoken, DONE, SOUND, SILENCE), ["thinking", "thinking", "speaking", "listening"]);

  const cut = { type: "conversation.item.truncated", item_id: "a1" };
  assert.deepEqual(states(spoken, DONE, cut), ["thinking", "thinking", "listening"]);

  const cancelled = { type: "response.done", response: { id: "r1", status: "cancelled" } };
  assert.deepEqual(states(spoken, cancelled), ["thinking", "listening"]);

  const wordless = { type: "response.done", response: { id: "r1", status: "completed", output: [] } };
  assert.deepEqual(states(spoken, wordless), ["thinking", "listening"]);
});

test("an answer in text alone is thought about, then done", () => {
  assert.deepEqual(states(CREATED, DONE), ["thinking", "listening"]);
});

test("a sound that was no speech leaves nobody waiting", () => {
  const empty = {
    type: "conversation.item.input_audio_transcription.completed",
    item_id: "u1",
    transcript: " ",
  };
  const deleted = { type: "conversation.item.deleted", item_id: "u1" };
  assert.deepEqual(states(STARTED, STOPPED, empty), ["hearing", "thinking", "listening"]);
  assert.deepEqual(states(STARTED, STOPPED, deleted), ["hearing", "thinking", "listening"]);
});

test("something written awaits its answer", () => {
  const floor = new Floor();
  floor.expectReply();
  assert.equal(floor.state, "thinking");
  floor.apply(CREATED);
  assert.equal(floor.making, true);
  floor.apply(DONE);
  assert.equal(floor.state, "listening");
});
