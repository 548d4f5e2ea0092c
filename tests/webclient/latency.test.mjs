import assert from "node:assert/strict";
import { test } from "node:test";

import { NetworkMeter, turnLatency } from "../../webclient/latency.js";
import { place, span } from "../../webclient/waterfall.js";

const EVENT = {
  type: "vk.turn.latency",
  response_id: "r1",
  item_id: "a1",
  stages: [
    { name: "endpoint", start_ms: 0, duration_ms: 300 },
    { name: "stt", start_ms: 100, duration_ms: 150 },
    { name: "tts", start_ms: 400, duration_ms: 200 },
  ],
  total_ms: 600,
};

function stats({ round_trip_s, delay_s, emitted }) {
  return new Map([
    ["failed", { type: "candidate-pair", nominated: false, state: "failed" }],
    [
      "pair",
      { type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: round_trip_s },
    ],
    [
      "audio",
      { type: "inbound-rtp", kind: "audio", jitterBufferDelay: delay_s, jitterBufferEmittedCount: emitted },
    ],
  ]);
}

test("the network is a stage of its own, after the server's", () => {
  const latency = turnLatency(EVENT, { round_trip_ms: 20, jitter_buffer_ms: 45 });
  assert.deepEqual(latency.stages.at(-1), { name: "network", start_ms: 600, duration_ms: 65 });
  assert.equal(latency.total_ms, 665);
  assert.equal(latency.server_ms, 600);
});

test("without statistics the server's figures stand alone", () => {
  assert.equal(turnLatency(EVENT, null).total_ms, 600);
});

test("the jitter buffer's delay is its mean since the last reading", () => {
  const meter = new NetworkMeter();
  const first = meter.read(stats({ round_trip_s: 0.02, delay_s: 4800, emitted: 96000 }));
  const second = meter.read(stats({ round_trip_s: 0.03, delay_s: 4800 + 960, emitted: 96000 + 48000 }));
  assert.deepEqual(first, { round_trip_ms: 20, jitter_buffer_ms: 50 });
  assert.deepEqual(second, { round_trip_ms: 30, jitter_buffer_ms: 20 });
});

test("a call without sound still has a round trip", () => {
  const meter = new NetworkMeter();
  const reports = stats({ round_trip_s: 0.02, delay_s: 0, emitted: 0 });
  reports.delete("audio");
  assert.deepEqual(meter.read(reports), { round_trip_ms: 20, jitter_buffer_ms: 0 });
});

test("before a pair is chosen there is nothing to say", () => {
  assert.equal(new NetworkMeter().read(new Map()), null);
});

test("stages are placed by when they began, and never leave the row", () => {
  const latency = turnLatency(EVENT, null);
  assert.equal(span(latency), 600);
  assert.deepEqual(place(EVENT.stages[0], 600), { left: 0, width: 50 });
  assert.deepEqual(place({ start_ms: -60, duration_ms: 120 }, 600), { left: 0, width: 10 });
  assert.deepEqual(place({ start_ms: 540, duration_ms: 999 }, 600), { left: 90, width: 10 });
});
