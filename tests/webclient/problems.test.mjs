import assert from "node:assert/strict";
import { test } from "node:test";

import { microphoneProblem, refusalProblem } from "../../webclient/problems.js";

test("a full server says when to try again", () => {
  const problem = refusalProblem(503, { detail: "All 4 lines are in use." }, "7");
  assert.equal(problem.code, "server-full");
  assert.equal(problem.retryAfterS, 7);
  assert.equal(problem.retryable, true);
  assert.equal(problem.message, "All 4 lines are in use. Try again in 7 seconds.");
});

test("a refusal keeps the server's code and words, and is not tried again", () => {
  const problem = refusalProblem(422, { code: "voice_unknown", detail: "There is no voice “x”." }, null);
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
