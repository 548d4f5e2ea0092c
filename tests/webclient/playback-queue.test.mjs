import assert from "node:assert/strict";
import { test } from "node:test";

import { PlaybackQueue } from "../../webclient/playback-queue.js";

const RATE_HZ = 1000;
const FADE = 5;

/** Counts up from `from`, so that each sample says where it is of. */
const counting = (from, length) => Float32Array.from({ length }, (_, index) => from + index);

function rendered(queue, length) {
  const output = new Float32Array(length);
  queue.render(output);
  return [...output];
}

test("pieces are played one after the other, and silence where there is none", () => {
  const queue = new PlaybackQueue(RATE_HZ);
  assert.deepEqual(rendered(queue, 3), [0, 0, 0]);
  queue.push("a", counting(1, 4));
  queue.push("a", counting(5, 2));
  assert.deepEqual(rendered(queue, 3), [1, 2, 3]);
  assert.deepEqual(rendered(queue, 4), [4, 5, 6, 0], "the rest is on its way");
  queue.push("a", counting(7, 2));
  assert.deepEqual(rendered(queue, 3), [7, 8, 0]);
});

test("an item waits for the end of the one before", () => {
  const queue = new PlaybackQueue(RATE_HZ);
  queue.push("a", counting(1, 2));
  queue.push("b", counting(10, 2));
  assert.deepEqual(rendered(queue, 4), [1, 2, 0, 0]);
  queue.complete("a");
  assert.deepEqual(rendered(queue, 3), [10, 11, 0]);
});

test("an item that ends within a block is followed at once", () => {
  const queue = new PlaybackQueue(RATE_HZ);
  queue.push("a", counting(1, 2));
  queue.complete("a");
  queue.complete("nothing of it");
  queue.push("b", counting(10, 2));
  assert.deepEqual(rendered(queue, 4), [1, 2, 10, 11]);
});

test("a flush fades, says what was played, and takes nothing more of it", () => {
  const queue = new PlaybackQueue(RATE_HZ);
  queue.push("a", new Float32Array(100).fill(1));
  queue.push("b", new Float32Array(100).fill(1));
  rendered(queue, 20);
  assert.deepEqual(queue.flush(), [
    { itemId: "a", played_samples: 20 },
    { itemId: "b", played_samples: 0 },
  ]);
  const fading = rendered(queue, FADE + 3);
  assert.deepEqual(fading.slice(FADE), [0, 0, 0]);
  assert.ok(fading.slice(0, FADE).every((sample, index) => index === 0 || sample < fading[index - 1]));
  queue.push("a", counting(1, 4));
  queue.complete("b");
  assert.deepEqual(rendered(queue, 2), [0, 0], "what was on its way is dropped");
  queue.push("c", new Float32Array(2).fill(1));
  assert.deepEqual(rendered(queue, 2), [1, 1]);
  assert.deepEqual(new PlaybackQueue(RATE_HZ).flush(), []);
});

test("a held voice goes on where it is told, as far back as is kept", () => {
  const queue = new PlaybackQueue(RATE_HZ);
  for (let at = 0; at < 3000; at += 100) queue.push("a", counting(at, 100));
  rendered(queue, 2000);
  queue.hold();
  const fading = rendered(queue, 100);
  assert.ok(fading.slice(FADE).every((sample) => sample === 0));
  queue.resume("a", 1500);
  const played = rendered(queue, 100);
  assert.equal(played[0], 0, "it rises");
  assert.deepEqual(played.slice(FADE), [...counting(1500 + FADE, 100 - FADE)]);
  queue.hold();
  queue.resume("a", 0);
  assert.ok(rendered(queue, 100)[FADE] <= 2000 - 1200 + 100, "and no further back");
  assert.equal(queue.flush()[0].itemId, "a");
});

test("to hold twice, or to go on unheld, changes nothing", () => {
  const queue = new PlaybackQueue(RATE_HZ);
  queue.push("a", counting(1, 50));
  rendered(queue, 10);
  queue.resume("a", 0);
  assert.deepEqual(rendered(queue, 2), [11, 12]);
  queue.hold();
  rendered(queue, 10);
  queue.hold();
  assert.deepEqual(rendered(queue, 2), [0, 0]);
  queue.resume("another", 0);
  assert.equal(rendered(queue, 10)[9], 22);
});
