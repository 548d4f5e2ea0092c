import assert from "node:assert/strict";
import { test } from "node:test";

import { Dialler } from "../../webclient/dialler.js";
import { Problem, iceProblem, refusalProblem, unreachableProblem } from "../../webclient/problems.js";

/** Ways to the server, each of which ends as told: with the problem, or open. */
function ways(outcomes) {
  const tried = [];
  const way = (name) =>
    class {
      constructor({ patience_ms }) {
        this.patience_ms = patience_ms;
        this.name = name;
        this.closed = false;
      }
      async open() {
        tried.push(name);
        const outcome = outcomes[name].shift();
        if (outcome instanceof Error) throw outcome;
      }
      close() {
        this.closed = true;
      }
    };
  return { tried, connections: { webrtc: way("webrtc"), websocket: way("websocket") } };
}

const dial = (dialler, signal = new AbortController().signal) => dialler.dial({}, {}, signal);

test("WebRTC is the way where it is one", async () => {
  const { tried, connections } = ways({ webrtc: [null], websocket: [] });
  const { connection, transport } = await dial(new Dialler("auto", connections));
  assert.deepEqual([transport, connection.name, tried], ["webrtc", "webrtc", ["webrtc"]]);
  assert.ok(connection.patience_ms > 0, "it does not wait for ever");
});

test("where no UDP gets through, the WebSocket is, and stays it", async () => {
  const { tried, connections } = ways({ webrtc: [iceProblem()], websocket: [null, null] });
  const dialler = new Dialler("auto", connections);
  assert.equal((await dial(dialler)).transport, "websocket");
  assert.equal((await dial(dialler)).transport, "websocket");
  assert.deepEqual(tried, ["webrtc", "websocket", "websocket"]);
});

test("what is no matter of UDP is not tried otherwise", async () => {
  for (const problem of [unreachableProblem(), refusalProblem(503, { code: "server_full" }, "5")]) {
    const { tried, connections } = ways({ webrtc: [problem], websocket: [] });
    await assert.rejects(dial(new Dialler("auto", connections)), problem);
    assert.deepEqual(tried, ["webrtc"]);
  }
});

test("the line of the try before may be a moment in coming free", async () => {
  const full = refusalProblem(503, { code: "server_full", message: "All lines are busy." }, "5");
  const { tried, connections } = ways({ webrtc: [iceProblem()], websocket: [full, null] });
  assert.equal((await dial(new Dialler("auto", connections))).transport, "websocket");
  assert.deepEqual(tried, ["webrtc", "websocket", "websocket"]);
});

test("where there is no way at all, UDP is what is told of, and is tried again", async () => {
  const noPath = iceProblem();
  const outcomes = { webrtc: [noPath, null], websocket: [unreachableProblem("closed")] };
  const { connections } = ways(outcomes);
  const dialler = new Dialler("auto", connections);
  await assert.rejects(dial(dialler), noPath);
  assert.equal((await dial(dialler)).transport, "webrtc");
});

test("a transport that was chosen is the only one", async () => {
  const one = ways({ webrtc: [iceProblem()], websocket: [] });
  await assert.rejects(dial(new Dialler("webrtc", one.connections)), Problem);
  const other = ways({ webrtc: [], websocket: [null] });
  assert.equal((await dial(new Dialler("websocket", other.connections))).transport, "websocket");
});

test("hanging up ends the search", async () => {
  const { tried, connections } = ways({ webrtc: [iceProblem()], websocket: [null] });
  const calling = new AbortController();
  const dialling = dial(new Dialler("auto", connections), calling.signal);
  calling.abort();
  await assert.rejects(dialling, { name: "AbortError" });
  assert.deepEqual(tried, ["webrtc"]);
});
