import assert from "node:assert/strict";
import { test } from "node:test";

import { keyHeaders, keyOfPage, keyProtocols } from "../../webclient/key.js";

class Kept {
  values = new Map();
  getItem(name) {
    return this.values.get(name) ?? null;
  }
  setItem(name, value) {
    this.values.set(name, value);
  }
}

function opened(hash, kept = new Kept()) {
  const shown = [];
  const history = { replaceState: (state, unused, address) => shown.push(address) };
  const key = keyOfPage({ hash, pathname: "/voice/", search: "?a=1" }, history, kept);
  return { key, shown, kept };
}

test("a page opened with a key has it, and does not show it any longer", () => {
  const { key, shown, kept } = opened("#key=sk-1234.~_");
  assert.equal(key, "sk-1234.~_");
  assert.deepEqual(shown, ["/voice/?a=1"]);
  assert.equal(opened("", kept).key, key);
});

test("a page opened without one has none, and its address stays", () => {
  const { key, shown } = opened("#settings");
  assert.equal(key, null);
  assert.deepEqual(shown, []);
});

test("requests carry a key where there is one", () => {
  assert.deepEqual(keyHeaders("sk-1"), { Authorization: "Bearer sk-1" });
  assert.deepEqual(keyHeaders(null), {});
});

test("a WebSocket carries it as a subprotocol", () => {
  assert.deepEqual(keyProtocols("sk-1"), ["realtime", "openai-insecure-api-key.sk-1"]);
  assert.deepEqual(keyProtocols(null), []);
});
