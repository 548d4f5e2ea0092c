/** Microphones: opening one with the browser's echo canceller on, and naming those there are. */

import { insecureContextProblem, microphoneProblem } from "./problems.js";

const PROCESSING = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * @param {string | true} choice a device id, or true for the browser's default
 * @returns {Promise<MediaStream>}
 * @throws {Problem} in words, where there is none to be had
 */
export async function openMicrophone(choice) {
  if (!navigator.mediaDevices?.getUserMedia) throw insecureContextProblem();
  const device = typeof choice === "string" && choice !== "" ? { deviceId: { exact: choice } } : {};
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { ...PROCESSING, ...device } });
  } catch (error) {
    // The chosen device was unplugged since: the default one is better than none.
    if (error instanceof DOMException && error.name === "OverconstrainedError") return openMicrophone(true);
    throw microphoneProblem(error);
  }
}

/** @returns {Promise<{id: string, label: string}[]>} empty where the browser names none (yet) */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices
    .filter(
      (device) => device.kind === "audioinput" && device.deviceId !== "" && device.deviceId !== "default",
    )
    .map((device, index) => ({ id: device.deviceId, label: device.label || `Microphone ${index + 1}` }));
}
