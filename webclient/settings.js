/**
 * What the caller chose, as the settings of a session in the Realtime API's shape. Pure: no DOM, no storage.
 *
 * @typedef {object} Choice
 * @property {string} voice
 * @property {string} language
 * @property {number} speed
 * @property {string} instructions
 * @property {string} greeting
 * @property {boolean} speak whether answers are spoken
 */

/** Where each setting lies in a session. */
const AS_SESSION = {
  voice: (voice) => ({ audio: { output: { voice } } }),
  speed: (speed) => ({ audio: { output: { speed } } }),
  language: (language) => ({ audio: { input: { transcription: { language } } } }),
  instructions: (instructions) => ({ instructions }),
  greeting: (greeting) => ({ greeting }),
  speak: (speak) => ({ output_modalities: [speak ? "audio" : "text"] }),
};

/**
 * One setting as a patch to a session.
 *
 * @param {keyof Choice} name
 * @param {string | number | boolean} value
 */
export function sessionPatch(name, value) {
  return AS_SESSION[name](value);
}

/**
 * The patches for all that differs from the server's defaults: what was not touched stays the server's.
 *
 * @param {Choice} choice
 * @param {Choice} defaults
 */
export function sessionPatches(choice, defaults) {
  return Object.keys(AS_SESSION)
    .filter((name) => choice[name] !== defaults[name])
    .map((name) => sessionPatch(name, choice[name]));
}

/**
 * The voices under the names of their languages, in the server's order.
 *
 * @template {{language: string}} V
 * @param {V[]} voices
 * @returns {Map<string, V[]>}
 */
export function voicesByLanguage(voices) {
  const groups = new Map();
  for (const voice of voices) {
    const name = languageName(voice.language);
    groups.set(name, [...(groups.get(name) ?? []), voice]);
  }
  return groups;
}

/**
 * Languages with their names, in the names' order.
 *
 * @param {(string | {code: string, label?: string})[]} languages as BCP-47 tags, named or not
 * @returns {{code: string, label: string}[]}
 */
export function namedLanguages(languages) {
  return languages
    .map((language) => (typeof language === "string" ? { code: language } : language))
    .map(({ code, label }) => ({ code, label: label ?? languageName(code) }))
    .sort((one, other) => one.label.localeCompare(other.label));
}

const LANGUAGE_NAMES = new Intl.DisplayNames(["en"], { type: "language" });

/** "en-US" is "American English"; what has no name keeps its tag. */
function languageName(tag) {
  return LANGUAGE_NAMES.of(tag) ?? tag;
}

/**
 * The voice to speak a language with: the present one if it can, otherwise the first that can.
 *
 * @template {{name: string, language: string, unavailable: string | null}} V
 * @param {V[]} voices
 * @param {string} present the present voice's name
 * @param {string} language
 * @returns {string} a voice's name
 */
export function voiceFor(voices, present, language) {
  const able = voices.filter((voice) => !voice.unavailable && related(voice.language, language));
  return (able.find((voice) => voice.name === present) ?? able[0])?.name ?? present;
}

/** Whether one is the other or a region of it: "en" and "en-GB". */
function related(one, other) {
  const primary = (tag) => tag.toLowerCase().split("-")[0];
  return primary(one) === primary(other);
}
