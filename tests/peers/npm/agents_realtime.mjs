// `@openai/agents-realtime`, unmodified, as a client of the server. What happens: tests/peers/story.py.
//
//   node agents_realtime.mjs TRANSPORT MODULES URL KEY FOLDER WEATHER HEARD_S
//
// TRANSPORT is `websocket` (24 kHz) or `webrtc` (48 kHz, on `@roamhq/wrtc`), MODULES has the `node_modules`, URL is
// the server's.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [transportName, modules, url, apiKey, folder, weather, heardS] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);

/** The caller's mouth and ear, 10 ms after 10 ms: what is put into `mouth` is said, and silence otherwise. */
class Caller {
  mouth = [];
  heard = [];
  #heardSamples = 0;

  constructor(rate) {
    this.rate = rate;
    this.step = rate / 100;
  }

  say(file) {
    const bytes = readFileSync(`${folder}/${file}`);
    const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
    for (let at = 0; at + this.step <= samples.length; at += this.step) this.mouth.push(samples.slice(at, at + this.step));
  }

  hear(samples) {
    this.heard.push(Int16Array.from(samples));
    if (samples.some((sample) => Math.abs(sample) > 300)) this.#heardSamples += samples.length;
  }

  get heardS() {
    return this.#heardSamples / this.rate;
  }

  /** Keeps the time. Each step says a piece, and calls `tick`. */
  begin(speak, tick) {
    const begunMs = performance.now();
    let steps = 0;
    const next = () => {
      for (; begunMs + steps * 10 <= performance.now(); steps++) {
        speak(this.mouth.shift() ?? new Int16Array(this.step));
        tick?.();
      }
      setTimeout(next, 2);
    };
    next();
  }

  recorded() {
    return Buffer.concat(this.heard.map(({ buffer }) => Buffer.from(buffer)));
  }
}

const transports = {
  websocket: () => {
    const { RealtimeSession } = require("@openai/agents-realtime");
    const caller = new Caller(24_000);
    let waiting = Buffer.alloc(0);
    return {
      caller,
      open: async (agent) => {
        const session = new RealtimeSession(agent, { transport: "websocket" });
        session.on("audio", ({ data }) => (waiting = Buffer.concat([waiting, Buffer.from(data)])));
        session.on("audio_interrupted", () => (waiting = Buffer.alloc(0)));
        await session.connect({ apiKey, url: `${url.replace("http", "ws")}/v1/realtime?model=gpt-realtime` });
        return session;
      },
      begin: (session) =>
        caller.begin(
          (samples) => session.sendAudio(samples.buffer),
          () => {
            const bytes = waiting.subarray(0, 2 * caller.step);
            waiting = waiting.subarray(bytes.length);
            caller.hear(Int16Array.from({ length: bytes.length >> 1 }, (_, at) => bytes.readInt16LE(2 * at)));
          },
        ),
      hasHeardOut: () => waiting.length === 0,
    };
  },

  webrtc: () => {
    const { RTCPeerConnection, MediaStream, nonstandard } = require("@roamhq/wrtc");
    globalThis.RTCPeerConnection = RTCPeerConnection;
    const { OpenAIRealtimeWebRTC, RealtimeSession } = require("@openai/agents-realtime");
    const caller = new Caller(48_000);
    const source = new nonstandard.RTCAudioSource();
    const mediaStream = new MediaStream([source.createTrack()]);
    const form = { sampleRate: 48_000, bitsPerSample: 16, channelCount: 1, numberOfFrames: 480 };
    const audioElement = {
      set srcObject(stream) {
        this.sink = new nonstandard.RTCAudioSink(stream.getAudioTracks()[0]);
        this.sink.ondata = ({ samples, channelCount }) =>
          caller.hear(Int16Array.from({ length: samples.length / channelCount }, (_, at) => samples[at * channelCount]));
      },
    };
    let playing = false;
    return {
      caller,
      open: async (agent) => {
        const transport = new OpenAIRealtimeWebRTC({
          baseUrl: `${url}/v1/realtime/calls`,
          useInsecureApiKey: true,
          mediaStream,
          audioElement,
        });
        transport.on("output_audio_buffer.started", () => (playing = true));
        for (const end of ["stopped", "cleared"]) transport.on(`output_audio_buffer.${end}`, () => (playing = false));
        const session = new RealtimeSession(agent, { transport });
        await session.connect({ apiKey, model: "gpt-realtime" });
        return session;
      },
      begin: () => caller.begin((samples) => source.onData({ ...form, samples })),
      hasHeardOut: () => !playing,
    };
  },
};

const { RealtimeAgent, tool } = require("@openai/agents-realtime");
const report = { calls: [], interruptions: 0, errors: [], said: [] };
const getWeather = tool({
  name: "get_weather",
  description: "The weather in a city.",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
  execute: async (given) => {
    report.calls.push(given);
    return weather;
  },
});

const { caller, open, begin, hasHeardOut } = transports[transportName]();
const session = await open(new RealtimeAgent({ name: "storyteller", instructions: "Be brief.", tools: [getWeather] }));
session.on("error", ({ error }) => report.errors.push(String(error?.message ?? JSON.stringify(error))));
// Over WebRTC, where the server itself falls silent, this is all that the client tells of it.
const interruption = transportName === "webrtc" ? "output_audio_buffer.cleared" : "audio_interrupted";
session.transport.on(interruption, () => report.interruptions++);

/** Resolves when it is so; whatever makes it so is an event or a step of the caller's clock. */
const until = (isSo) =>
  new Promise((resolve) => {
    const timer = setInterval(() => {
      if (!isSo()) return;
      clearInterval(timer);
      resolve();
    }, 10);
  });

/** What was said by one side, as the session's own history has it. */
const said = (role) =>
  session.history
    .filter((item) => item.type === "message" && item.role === role && item.status === "completed")
    .map(({ content }) => content.map(({ transcript, text }) => transcript ?? text ?? "").join(""));

caller.say("ask.pcm");
begin(session);
await until(() => caller.heardS >= Number(heardS));
caller.say("break-in.pcm");
await until(() => said("assistant").some((text) => text.includes(weather)));
await until(hasHeardOut);
report.said = said("user");
writeFileSync(`${folder}/heard.pcm`, caller.recorded());
session.close();
console.log(JSON.stringify(report));
process.exit(0);
