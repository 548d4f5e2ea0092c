import assert from "node:assert/strict";
import { test } from "node:test";

import { colourRamp, drawnVoice, loudnessAt, rowFrequencies } from "../../webclient/spectrum.js";

test("rows rise through the whole range, and are closest together where the ear is finest", () => {
  const rows = rowFrequencies(100, 8000);
  const steps = [...rows].slice(1).map((frequency_hz, index) => frequency_hz - rows[index]);
  assert.ok(rows[0] > 0 && rows[99] < 8000);
  assert.ok(steps.every((step, index) => step > 0 && (index === 0 || step > steps[index - 1])));
});

test("loudness between two bins is in proportion, and beyond the last it is the last", () => {
  const bins = Uint8Array.of(0, 100, 200);
  assert.equal(loudnessAt(bins, 50, 25), 50);
  assert.equal(loudnessAt(bins, 50, 100), 200);
  assert.equal(loudnessAt(bins, 50, 9000), 200);
});

test("silence is invisible, loudness is the peak's colour", () => {
  const ramp = colourRamp([10, 20, 30], [200, 210, 220]);
  assert.deepEqual([...ramp.slice(0, 4)], [10, 20, 30, 0]);
  assert.deepEqual([...ramp.slice(-4)], [200, 210, 220, 255]);
});

test("the drawn voice stays within a loudness and has pauses", () => {
  const times_s = Array.from({ length: 200 }, (_, index) => index / 20);
  const levels = times_s.map((time_s) => drawnVoice(time_s, 500, 150));
  assert.ok(levels.every((level) => level >= 0 && level <= 255));
  assert.ok(levels.some((level) => level > 100) && levels.some((level) => level === 0));
});
