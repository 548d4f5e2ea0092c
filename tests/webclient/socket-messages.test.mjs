import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../../webclient/conversation.js";
import { Floor } from "../../webclient/floor.js";
import { Hearing } from "../../webclient/hearing.js";
import { PLAYED_ID, ServerWords, flatSettings, messagesOf } from "../../webclient/socket-messages.js";

const SPOKEN_TURN = [
  { type: "speech_started", item_id: "u1", at_ms: 100 },
  { type: "transcription", item_id: "u1", text: "What", delta: "What", final: false },
  { type: "speech_stopped", item_id: "u1", at_ms: 900 },
  { type: "item", item: { item_id: "u1", role: "user", status: "in_progress", text: "" } },
  { type: "transcription", item_id: "u1", text: "What is it?", final: true },
  { type: "response_started", response_id: "r1", modality: "audio" },
  {
    type: "item",
    item: { item_id: "a1", role: "assistant", status: "in_progress", text: "" },
    previous_item_id: "u1",
    response_id: "r1",
  },
  { type: "response_text", response_id: "r1", item_id: "a1", delta: "It is", final: false },
  { type: "response_text", response_id: "r1", item_id: "a1", delta: " noon.", final: false },
  { type: "playback", response_id: "r1", item_id: "a1", state: "started", at_ms: 0 },
  { type: "response_text", response_id: "r1", item_id: "a1", text: "It is noon.", final: true },
];
const COMPLETE = {
  type: "conversation_complete",
  response_id: "r1",
  item_id: "a1",
  status: "completed",
  text: "It is noon.",
};

/** What the page makes of messages. */
function told(messages) {
  const words = new ServerWords();
  const page = { conversation: new Conversation(), floor: new Floor(), hearing: new Hearing(), events: [] };
  for (const event of messages.flatMap((message) => words.eventsOf(message))) {
    page.events.push(event);
    page.conversation.apply(event);
    page.floor.apply(event);
    page.hearing.apply(event, 0);
  }
  return page;
}

const texts = ({ conversation }) => conversation.items.map(({ role, text }) => [role, text]);

test("a spoken turn is the page's, as over WebRTC", () => {
  assert.equal(told(SPOKEN_TURN.slice(0, 2)).floor.state, "hearing");
  assert.equal(told(SPOKEN_TURN.slice(0, 6)).floor.state, "thinking");
  const speaking = told(SPOKEN_TURN);
  assert.equal(speaking.floor.state, "speaking");
  assert.deepEqual([...speaking.hearing.breakOff(2000, 1)], [["a1", 5]]);
  const over = told([...SPOKEN_TURN, COMPLETE]);
  assert.equal(over.floor.state, "listening");
  assert.deepEqual(texts(over), [
    ["user", "What is it?"],
    ["assistant", "It is noon."],
  ]);
  assert.deepEqual(
    over.events.map(({ type }) => type),
    [
      "input_audio_buffer.speech_started",
      "conversation.item.input_audio_transcription.delta",
      "input_audio_buffer.speech_stopped",
      "conversation.item.added",
      "conversation.item.input_audio_transcription.completed",
      "response.created",
      "response.output_item.added",
      "conversation.item.added",
      "response.output_audio_transcript.delta",
      "response.output_audio_transcript.delta",
      "output_audio_buffer.started",
      "response.output_audio_transcript.done",
      "response.done",
      "output_audio_buffer.stopped",
    ],
  );
});

test("an interruption cuts what was not heard", () => {
  const cut = told([
    ...SPOKEN_TURN,
    { type: "interrupted", response_id: "r1", item_id: "a1" },
    { type: "truncated", item_id: "a1", heard_ms: 300, heard_text: "It is" },
    { ...COMPLETE, status: "interrupted", text: "It is" },
    { type: "truncated", item_id: "a1", heard_ms: 200, heard_text: "It" },
  ]);
  assert.equal(cut.floor.state, "listening");
  const answer = cut.conversation.items[1];
  assert.deepEqual([answer.interrupted, answer.heard, answer.text], [true, "It", "It is noon."]);
  assert.deepEqual([...cut.hearing.breakOff(2000, 1)], []);
});

test("a written answer has no sound", () => {
  const { events } = told([
    { type: "response_started", response_id: "r1", modality: "text" },
    { type: "response_text", response_id: "r1", item_id: "a1", delta: "Hi.", final: false },
    { type: "response_text", response_id: "r1", item_id: "a1", text: "Hi.", final: true },
    { ...COMPLETE, text: "Hi." },
  ]);
  assert.deepEqual(
    events.map(({ type }) => type),
    ["response.created", "response.output_text.delta", "response.output_text.done", "response.done"],
  );
});

test("what failed is told as it is over WebRTC", () => {
  const failed = { code: "engine_error", message: "Gone." };
  const { events } = told([
    { type: "transcription", item_id: "u1", text: "", final: true, failed },
    { type: "response_started", response_id: "r1", modality: "audio" },
    { ...COMPLETE, status: "failed", text: "", failed },
    { type: "error", fault: "client", code: "invalid_value", message: "No.", param: "text" },
    { type: "error", fault: "server", code: "engine_error", message: "Broken." },
    { type: "error", fault: "client", code: "x", message: "Too late.", reply_to: PLAYED_ID },
  ]);
  assert.equal(events[0].type, "conversation.item.input_audio_transcription.failed");
  const done = events.find(({ type }) => type === "response.done");
  assert.deepEqual([done.response.status, done.response.status_details.error], ["failed", failed]);
  const errors = events.filter(({ type }) => type === "error");
  assert.deepEqual(
    errors.map(({ error }) => [error.type, error.code]),
    [
      ["invalid_request_error", "invalid_value"],
      ["server_error", "engine_error"],
    ],
  );
});

test("the rest of the server's messages", () => {
  const settings = { voice: "af_heart", speed: 1, instructions: "", modality: "audio" };
  const { events } = told([
    { type: "started", settings },
    { type: "settings", settings },
    { type: "latency", response_id: "r1", item_id: "u1", total_ms: 400, stages: [] },
    { type: "item_deleted", item_id: "u1" },
    { type: "input_cleared" },
    { type: "reset" },
    { type: "pong" },
    { type: "of a later server" },
  ]);
  assert.deepEqual(
    events.map(({ type }) => type),
    [
      "session.created",
      "session.updated",
      "vk.turn.latency",
      "conversation.item.deleted",
      "input_audio_buffer.cleared",
      "vk.conversation.reset",
    ],
  );
  assert.equal(events[0].session.audio.output.voice, "af_heart");
});

test("settings are flat", () => {
  const session = {
    type: "realtime",
    include: ["vk.turn.latency"],
    instructions: "Be kind.",
    greeting: "",
    output_modalities: ["text"],
    audio: { input: { transcription: { language: "" } }, output: { voice: "bf_emma", speed: 1.5 } },
  };
  assert.deepEqual(flatSettings(session), {
    instructions: "Be kind.",
    greeting: "",
    modality: "text",
    voice: "bf_emma",
    speed: 1.5,
    language: null,
  });
  assert.deepEqual(flatSettings({}), {});
});

test("what the page asks for", () => {
  const item = { id: "u1", type: "message", role: "user", content: [{ type: "input_text", text: "Hi." }] };
  const events = [
    { type: "conversation.item.create", item },
    { type: "response.create" },
    { type: "response.cancel" },
    { type: "output_audio_buffer.clear" },
    { type: "session.update", session: { type: "realtime", instructions: "Sing." } },
    { type: "vk.conversation.reset" },
  ];
  // As they are on the wire, where undefined fields are not.
  assert.deepEqual(JSON.parse(JSON.stringify(events.flatMap(messagesOf))), [
    { type: "item", item: { item_id: "u1", role: "user", text: "Hi." } },
    { type: "respond" },
    { type: "interrupt" },
    { type: "settings", settings: { instructions: "Sing." } },
    { type: "reset" },
  ]);
});
