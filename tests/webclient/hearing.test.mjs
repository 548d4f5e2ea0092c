import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../../webclient/conversation.js";
import { Hearing, silentFor_ms } from "../../webclient/hearing.js";

const created = (id, modality = "audio") => ({
  type: "response.created",
  response: { id, output_modalities: [modality] },
});
const item = (response_id, id) => ({ type: "response.output_item.added", response_id, item: { id } });
const sound = (kind, response_id) => ({ type: `output_audio_buffer.${kind}`, response_id });

/** @param {[event: object, now_ms: number][]} events */
function hearing(...events) {
  const told = new Hearing();
  for (const [event, now_ms] of events) told.apply(event, now_ms);
  return told;
}

test("words can have been heard for as long as the sound played", () => {
  const told = hearing([created("r1"), 0], [item("r1", "a1"), 10], [sound("started", "r1"), 1000]);
  assert.deepEqual([...told.breakOff(3000, 1)], [["a1", 5]]);
  assert.deepEqual([...told.breakOff(9000, 1)], [], "it breaks off once");
});

test("a faster voice has said more", () => {
  const told = hearing([created("r1"), 0], [item("r1", "a1"), 10], [sound("started", "r1"), 1000]);
  assert.deepEqual([...told.breakOff(3000, 1.5)], [["a1", 7]]);
});

test("of an answer whose sound had not begun nothing was heard", () => {
  const told = hearing([created("r1"), 0], [item("r1", "a1"), 10]);
  assert.deepEqual([...told.breakOff(3000, 1)], [["a1", 0]]);
});

test("what was heard out, cleared, forgotten or only written is not cut", () => {
  for (const end of [sound("stopped", "r1"), sound("cleared", "r1"), { type: "vk.conversation.reset" }]) {
    const told = hearing([created("r1"), 0], [item("r1", "a1"), 1], [sound("started", "r1"), 2], [end, 3]);
    assert.deepEqual([...told.breakOff(3000, 1)], [], end.type);
  }
  const written = hearing([created("r1", "text"), 0], [item("r1", "a1"), 1]);
  assert.deepEqual([...written.breakOff(3000, 1)], []);
});

test("how long no sound has come is told by the last packet", () => {
  const audio = { type: "inbound-rtp", kind: "audio", timestamp: 9000, lastPacketReceivedTimestamp: 4000 };
  const other = { type: "transport", timestamp: 9000 };
  const stats = (...reports) => new Map(reports.map((report, index) => [`${index}`, report]));
  assert.equal(silentFor_ms(stats(other, audio)), 5000);
  assert.equal(silentFor_ms(stats(other)), 0);
  assert.equal(silentFor_ms(stats({ ...audio, lastPacketReceivedTimestamp: undefined })), 0);
});

test("a new session is given only what can have been heard before the connection broke", () => {
  const told = new Conversation();
  const say = (item_id, delta) =>
    told.apply({ type: "response.output_audio_transcript.delta", item_id, delta });
  const done = (item_id, transcript) =>
    told.apply({ type: "response.output_audio_transcript.done", item_id, transcript });
  say("a1", "Heard to its end. ");
  done("a1", "Heard to its end.");
  say("a2", "One two  three four five. ");
  done("a2", "One two  three four five.");
  say("a3", "Never heard. ");

  const changes = told.settleAll(
    new Map([
      ["a2", 3],
      ["a3", 0],
    ]),
  );
  assert.deepEqual(
    changes.map(({ item }) => [item.id, item.interrupted, item.final]),
    [
      ["a2", true, true],
      ["a3", true, true],
    ],
  );
  assert.equal(told.items[1].text, "One two  three four five.", "it is still shown whole");
  assert.deepEqual(
    told.asCreateEvents().map(({ item }) => [item.id, item.content[0].text]),
    [
      ["a1", "Heard to its end."],
      ["a2", "One two  three"],
    ],
  );
});

test("an answer that had sounded long enough was heard whole, and one that was cut before stays as it was cut", () => {
  const told = new Conversation();
  told.apply({ type: "response.output_audio_transcript.done", item_id: "a1", transcript: "One two." });
  told.apply({ type: "response.output_audio_transcript.done", item_id: "a2", transcript: "Three four." });
  told.apply({ type: "conversation.item.truncated", item_id: "a2", audio_end_ms: 300, transcript: "Three" });
  told.settleAll(
    new Map([
      ["a1", 9],
      ["a2", 9],
    ]),
  );
  assert.deepEqual(
    told.items.map(({ heard, interrupted }) => [heard, interrupted]),
    [
      [null, false],
      ["Three", true],
    ],
  );
});
