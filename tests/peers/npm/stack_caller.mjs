// A caller in Node, on a WebRTC stack from npm.
//
//   node stack_caller.mjs STACK FOLDER URL MICROPHONE RECORDING
//
// STACK is `@roamhq/wrtc` or `werift`, FOLDER has the `node_modules`. It says what MICROPHONE holds, hears the answer
// out, and writes RECORDING. What these files hold is the stack's affair: samples (48 kHz, mono, 16 bits) for the one,
// Opus packets of 20 ms (each with its length before it, two bytes, the low one first) for the other, which has no
// codecs.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [stack, folder, url, microphone, recording] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);

/** Says each of the pieces when its time has come, and then, on and on, silence. */
function speak(pieces, silence, lengthMs, say) {
  const begunMs = performance.now();
  let said = 0;
  const next = () => {
    while (begunMs + said * lengthMs <= performance.now()) say(pieces[said] ?? silence, said++);
    timer = setTimeout(next, 2);
  };
  let timer = setTimeout(next, 0);
  return () => clearTimeout(timer);
}

const stacks = {
  "@roamhq/wrtc": () => {
    const { RTCPeerConnection, MediaStream, nonstandard } = require("@roamhq/wrtc");
    const source = new nonstandard.RTCAudioSource();
    const heard = [];
    const peer = new RTCPeerConnection();
    peer.addTrack(source.createTrack(), new MediaStream());
    let sink;
    peer.ontrack = ({ track }) => {
      sink = new nonstandard.RTCAudioSink(track);
      sink.ondata = ({ samples, channelCount }) =>
        heard.push(Int16Array.from({ length: samples.length / channelCount }, (_, at) => samples[at * channelCount]));
    };
    const bytes = readFileSync(microphone);
    const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
    const pieces = Array.from({ length: Math.floor(samples.length / 480) }, (_, at) =>
      samples.slice(at * 480, (at + 1) * 480),
    );
    const form = { sampleRate: 48_000, bitsPerSample: 16, channelCount: 1, numberOfFrames: 480 };
    return {
      peer,
      speak: () => speak(pieces, new Int16Array(480), 10, (samples) => source.onData({ ...form, samples })),
      recorded: () => {
        sink.stop();
        return Buffer.concat(heard.map(({ buffer }) => Buffer.from(buffer)));
      },
    };
  },

  werift: () => {
    const { MediaStreamTrack, RTCPeerConnection, RtpHeader, RtpPacket, useOPUS } = require("werift");
    const peer = new RTCPeerConnection({ codecs: { audio: [useOPUS()] }, iceServers: [] });
    const track = new MediaStreamTrack({ kind: "audio" });
    const heard = [];
    const { receiver } = peer.addTransceiver(track, { direction: "sendrecv" });
    peer.onTrack.subscribe((remote) =>
      remote.onReceiveRtp.subscribe(({ header, payload }) => {
        const head = Buffer.alloc(6);
        head.writeUInt32LE(header.timestamp >>> 0);
        head.writeUInt16LE(payload.length, 4);
        heard.push(head, Buffer.from(payload));
      }),
    );
    const pieces = [];
    const bytes = readFileSync(microphone);
    for (let at = 0; at < bytes.length; ) {
      const length = bytes.readUInt16LE(at);
      pieces.push(bytes.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
    const say = (payload, at) => {
      const header = new RtpHeader({ payloadType: 96, sequenceNumber: at & 0xffff, timestamp: (at * 960) >>> 0, ssrc: 1 });
      track.writeRtp(new RtpPacket(header, payload));
    };
    return {
      peer,
      speak: () => speak(pieces, pieces.at(-1), 20, say),
      recorded: () => Buffer.concat(heard),
    };
  },
};

const { peer, speak: begin, recorded } = stacks[stack]();
const channel = peer.createDataChannel("oai-events");
const opened = new Promise((resolve) => (channel.onopen = resolve));
const heardOut = new Promise((resolve) => {
  channel.onmessage = ({ data }) => {
    if (JSON.parse(data).type === "output_audio_buffer.stopped") resolve();
  };
});
await peer.setLocalDescription(await peer.createOffer());
const response = await fetch(`${url}/v1/realtime/calls`, {
  method: "POST",
  headers: { "Content-Type": "application/sdp" },
  body: peer.localDescription.sdp,
});
if (!response.ok) throw new Error(await response.text());
await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
await opened;
const hush = begin();
await heardOut;
hush();
writeFileSync(recording, recorded());
await peer.close();
process.exit(0);
