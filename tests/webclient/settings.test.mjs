import assert from "node:assert/strict";
import { test } from "node:test";

import { merge } from "../../webclient/merge.js";
import { namedLanguages, sessionPatches, voiceFor, voicesByLanguage } from "../../webclient/settings.js";

const DEFAULTS = {
  voice: "af_heart",
  language: "en-US",
  speed: 1,
  instructions: "Be kind.",
  greeting: "Hello!",
  speak: true,
};
const VOICES = [
  { name: "af_heart", language: "en-US", label: "Heart", unavailable: null },
  { name: "bf_emma", language: "en-GB", label: "Emma", unavailable: null },
  { name: "jf_alpha", language: "ja", label: "Alpha", unavailable: "needs an extra" },
  { name: "ff_siwis", language: "fr-FR", label: "Siwis", unavailable: null },
];

test("what was not touched is left to the server", () => {
  assert.deepEqual(sessionPatches(DEFAULTS, DEFAULTS), []);
});

test("choices make one session in the Realtime API's shape", () => {
  const choice = { ...DEFAULTS, voice: "bf_emma", speed: 1.2, greeting: "", speak: false };
  assert.deepEqual(sessionPatches(choice, DEFAULTS).reduce(merge, { include: ["vk.turn.latency"] }), {
    include: ["vk.turn.latency"],
    audio: { output: { voice: "bf_emma", speed: 1.2 } },
    greeting: "",
    output_modalities: ["text"],
  });
});

test("merging replaces lists and leaves its arguments alone", () => {
  const base = { include: ["a"], audio: { input: { x: 1 } } };
  assert.deepEqual(merge(base, { include: ["b"], audio: { output: { y: 2 } } }), {
    include: ["b"],
    audio: { input: { x: 1 }, output: { y: 2 } },
  });
  assert.deepEqual(base, { include: ["a"], audio: { input: { x: 1 } } });
});

test("voices stand under their languages' names, in the server's order", () => {
  assert.deepEqual(
    [...voicesByLanguage(VOICES).keys()],
    ["American English", "British English", "Japanese", "French (France)"],
  );
});

test("languages are named, and in the order of their names", () => {
  assert.deepEqual(namedLanguages(["fr", "en", { code: "de", label: "Allemannic" }]), [
    { code: "de", label: "Allemannic" },
    { code: "en", label: "English" },
    { code: "fr", label: "French" },
  ]);
});

test("a language asks for a voice that speaks it, and keeps one that does", () => {
  assert.equal(voiceFor(VOICES, "af_heart", "fr"), "ff_siwis");
  assert.equal(voiceFor(VOICES, "bf_emma", "en"), "bf_emma");
  assert.equal(voiceFor(VOICES, "af_heart", "ja"), "af_heart");
});
