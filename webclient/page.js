/** The page: joins the call (voice-client.js) to what is seen and pressed. */

import { keyOfPage } from "./key.js";
import { merge } from "./merge.js";
import { listMicrophones } from "./microphone.js";
import { Preferences } from "./preferences.js";
import { listenForShortcuts } from "./shortcuts.js";
import { Transcript } from "./transcript.js";
import { VoiceClient } from "./voice-client.js";
import { VoicePicture } from "./voice-picture.js";
import { Waterfall } from "./waterfall.js";

/** The call button's words and, where pressing it does something, what that is. */
const CALL_BUTTON = {
  idle: { label: "Call", action: startCall, does: "Start a voice call" },
  connecting: { label: "Calling…" },
  listening: { label: "Listening" },
  hearing: { label: "Hearing you" },
  thinking: { label: "Thinking", action: interrupt, does: "Press to stop the answer" },
  speaking: { label: "Speaking", action: interrupt, does: "Press to interrupt" },
  reconnecting: { label: "Calling again…" },
  failed: { label: "Call again", action: startCall, does: "Try the call again" },
};

/** What a screen reader is told; the rest of a call is told by the transcript. */
const ANNOUNCED_STATES = {
  connecting: "Calling.",
  reconnecting: "The connection broke. Calling again.",
  idle: "The call has ended.",
};

const SOUND_OFF = "audio-blocked";

const byId = (id) => document.getElementById(id);
const key = keyOfPage(location, history, sessionStorage);
const client = new VoiceClient({ key, audio: byId("voice") });
window.voiceClient = client;

const transcript = new Transcript(byId("transcript"), byId("announcer"));
const waterfall = new Waterfall(byId("waterfall"));
/** @type {Preferences} */
let preferences;
/** @type {VoicePicture} */
let picture;

async function begin() {
  let config;
  try {
    config = await client.config();
  } catch (problem) {
    awaitServer(problem);
    return;
  }
  preferences = new Preferences(byId("settings"), config);
  preferences.addEventListener("change", ({ detail }) => onPreference(detail));
  preferences.addEventListener("microphone", ({ detail }) => client.useMicrophone(detail));
  picture = new VoicePicture(byId("voices"), config.spectrogram, (level) =>
    byId("call-button").style.setProperty("--level", level.toFixed(2)),
  );
  followClient();
  followHands();
  showVoice();
  showState();
  showMicrophones();
}

/** There is nothing to call: the button asks again. */
function awaitServer(problem) {
  showProblem(problem);
  byId("call-label").textContent = "Try again";
  byId("call-button").addEventListener("click", () => location.reload());
  byId("text-only-button").hidden = true;
  byId("text-form").inert = true;
}

function followClient() {
  client.addEventListener("state", ({ detail }) => onState(detail));
  client.addEventListener("item", ({ detail }) => {
    transcript.apply(
      detail,
      client.items.map(({ id }) => id),
    );
    byId("new-conversation-button").disabled = client.items.length === 0;
  });
  client.addEventListener("latency", ({ detail }) => {
    waterfall.add(detail);
    byId("latency").classList.remove("empty");
  });
  client.addEventListener("problem", ({ detail }) => showProblem(detail));
  client.addEventListener("microphone", ({ detail }) => {
    picture.showCaller(detail.stream);
    showState();
    if (detail.stream) showMicrophones();
  });
  client.addEventListener("remotetrack", ({ detail }) => picture.showAssistant(detail.stream));
  client.addEventListener("event", ({ detail }) => {
    if (detail.type === "vk.conversation.reset") forgetTurns();
  });
}

function followHands() {
  byId("call-button").addEventListener("click", () => CALL_BUTTON[client.state].action?.());
  byId("hangup-button").addEventListener("click", () => client.hangUp());
  byId("mute-button").addEventListener("click", toggleMute);
  byId("text-only-button").addEventListener("click", () => (client.inCall ? startCall() : startTyping()));
  byId("new-conversation-button").addEventListener("click", startOver);
  byId("problem-dismiss").addEventListener("click", hideProblem);
  byId("unblock-button").addEventListener("click", async () => {
    hideProblem();
    await client.unblockAudio();
  });
  byId("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sendText();
  });
  navigator.mediaDevices?.addEventListener("devicechange", showMicrophones);
  addEventListener("pagehide", () => client.hangUp());
  listenForShortcuts(
    {
      c: () => ["idle", "failed"].includes(client.state) && startCall(),
      m: toggleMute,
      h: () => client.hangUp(),
      "/": () => byId("text-input").focus(),
      Escape: interrupt,
    },
    () => preferences.shortcuts,
  );
}

function session() {
  return preferences.patches.reduce(merge, { include: ["vk.turn.latency"] });
}

async function startCall() {
  hideProblem();
  await client.call({ microphone: preferences.microphone || true, session: session() });
}

/** A call without a microphone; where answers are not spoken either, without sound at all. */
async function startTyping(changes = {}) {
  hideProblem();
  byId("text-input").focus();
  return client.call({
    microphone: false,
    speaker: preferences.choice.speak,
    session: merge(session(), changes),
  });
}

async function sendText() {
  const input = byId("text-input");
  const text = input.value.trim();
  if (text === "" || client.state === "connecting" || client.state === "reconnecting") return;
  // Who begins by writing is answered, not greeted.
  if (!client.inCall && !(await startTyping({ greeting: "" }))) return;
  client.sendText(text);
  input.value = "";
}

function interrupt() {
  client.interrupt();
}

function toggleMute() {
  if (!client.microphone) return;
  client.mute(!client.muted);
  showState();
}

function startOver() {
  client.newConversation();
  if (!client.inCall) forgetTurns();
}

function forgetTurns() {
  waterfall.clear();
  byId("latency").classList.add("empty");
}

/** A choice made during a call holds from the next answer on. */
function onPreference({ name, patch }) {
  showVoice();
  if (!client.inCall) return;
  client.updateSession(patch);
  // A call begun without sound has nowhere to play it: it is made anew, and goes on where it was.
  if (name === "speak" && preferences.choice.speak && !client.speaker) startTyping();
}

function onState({ state, previous }) {
  if (state === "idle" || state === "failed") picture.showAssistant(null);
  const connected = ["connecting", "reconnecting"].includes(previous) && client.inCall;
  // A new turn leaves the last one's trouble behind; the sound stays off until a hand turns it on.
  const soundOff = byId("problem").dataset.code === SOUND_OFF && client.inCall;
  if ((connected || state === "thinking") && !soundOff) hideProblem();
  const announcement = connected ? "Connected." : ANNOUNCED_STATES[state];
  if (announcement) byId("status").textContent = announcement;
  showState();
}

function showState() {
  const { state, inCall } = client;
  const busy = inCall || state === "connecting";
  const typing = inCall && !client.microphone;
  document.body.dataset.callState = state;
  document.body.dataset.callMode = typing ? "text" : "voice";

  const { label, action, does } = CALL_BUTTON[state];
  const button = byId("call-button");
  byId("call-label").textContent = typing && state === "listening" ? "Ready" : label;
  button.setAttribute("aria-disabled", String(!action));
  button.title = does ?? "";

  byId("way").hidden = !inCall || client.transport !== "websocket";
  byId("hangup-button").hidden = !busy;
  byId("mute-button").hidden = !client.microphone;
  byId("mute-button").setAttribute("aria-pressed", String(client.muted));
  byId("text-only-button").hidden = busy && !typing;
  byId("text-only-label").textContent = typing ? "Use microphone" : "Type instead";
  byId("text-only-icon").setAttribute("href", typing ? "#icon-microphone" : "#icon-keyboard");
}

function showVoice() {
  byId("voice-name").textContent = preferences.voiceLabel;
}

async function showMicrophones() {
  preferences.showMicrophones(await listMicrophones());
}

/** @param {{code: string, message: string}} problem */
function showProblem({ code, message }) {
  byId("problem-text").textContent = message;
  byId("unblock-button").hidden = code !== SOUND_OFF;
  byId("problem").dataset.code = code;
  byId("problem").hidden = false;
}

function hideProblem() {
  byId("problem").hidden = true;
  byId("problem").dataset.code = "";
  byId("problem-text").textContent = "";
}

begin();
