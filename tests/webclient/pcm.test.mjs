import assert from "node:assert/strict";
import { test } from "node:test";

import { base64Of, floatsOf, int16Of } from "../../webclient/pcm.js";

test("what lies beyond full scale is clipped", () => {
  assert.deepEqual([...int16Of(Float32Array.of(0, 0.5, -1, 2, -2))], [0, 16384, -32768, 32767, -32768]);
});

test("the wire is little-endian", () => {
  assert.equal(base64Of(Int16Array.of(1, -2)), Buffer.from([1, 0, 0xfe, 0xff]).toString("base64"));
});

test("what is written is read again", () => {
  const samples = Int16Array.from({ length: 10_000 }, (_, index) => (index * 37) % 65_536);
  const read = floatsOf(base64Of(samples));
  assert.deepEqual([...int16Of(read)], [...samples]);
  assert.deepEqual([...floatsOf("")], []);
});
