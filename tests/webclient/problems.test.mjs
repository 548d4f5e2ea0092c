import assert from "node:assert/strict";
import { test } from "node:test";

import { microphoneProblem, refusalProblem } from "../../webclient/problems.js";

test("a server that takes no call says why, under its own code, and when to come back", () => {
  const full = refusalProblem(503, { code: "server_full", message: "All 4 lines are in use." }, "7");
  assert.equal(full.code, "server_full");
  assert.equal(full.retryAfterS, 7);
  assert.equal(full.retryable, true);
  assert.equal(full.message, "All 4 lines are in use. Try again in 7 seconds.");

  const draining = refusalProblem(503, { code: "server_draining", message: "It shuts down." }, "1");
  assert.equal(draining.code, "server_draining");
  assert.equal(draining.message, "It shuts down. Try again in 1 second.");
});

test("what the server says of trying again is not said twice", () => {
  const message = "The engines are still loading. Try again in a moment.";
  const problem = refusalProblem(503, { code: "server_starting", message }, "2");
  assert.equal(problem.message, message);
  assert.equal(problem.retryAfterS, 2);
});

test("a 503 of something in between has words, too", () => {
  const problem = refusalProblem(503, {}, null);
  assert.equal(problem.code, "server-unavailable");
  assert.equal(problem.message, "The server takes no calls just now. Try again in a moment.");
});

test("a refusal keeps the server's code and words, and is not tried again", () => {
  const problem = refusalProblem(422, { code: "voice_unknown", message: "There is no voice “x”." }, null);
  assert.equal(problem.code, "voice_unknown");
  assert.match(problem.message, /There is no voice “x”\./);
  assert.equal(problem.retryable, false);
});

test("a reply without a body is told by its status, and a broken server may recover", () => {
  const problem = refusalProblem(502, {}, null);
  assert.match(problem.message, /502/);
  assert.equal(problem.retryable, true);
});

test("each way of not getting a microphone has its words", () => {
  const failure = (name) => microphoneProblem(new DOMException("x", name));
  assert.equal(failure("NotAllowedError").code, "microphone-refused");
  assert.equal(failure("NotFoundError").code, "microphone-missing");
  assert.equal(failure("NotReadableError").code, "microphone-busy");
  assert.match(failure("OddError").message, /OddError/);
});
