/** The form with the caller's choices: filled from the server's offer, remembered in this browser. */

import { namedLanguages, sessionPatch, sessionPatches, voiceFor, voicesByLanguage } from "./settings.js";

const STORAGE_KEY = "voxtral-kokoro";

export class Preferences extends EventTarget {
  #form;
  #config;
  /** What the form shows before anything is chosen: the server's defaults, as far as its fields can. */
  #standard;

  /**
   * Fires "change" with the session's patch as its detail.
   *
   * @param {HTMLFormElement} form
   * @param {object} config as `GET /api/config` gives it
   */
  constructor(form, config) {
    super();
    this.#form = form;
    this.#config = config;
    this.#fill();
    this.#standard = this.#all;
    this.#restore();
    this.#showSpeed();
    form.addEventListener("input", () => this.#showSpeed());
    form.addEventListener("change", ({ target }) => this.#onChange(target));
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  /** @returns {import("./settings.js").Choice} */
  get choice() {
    const { voice, language, speed, instructions, greeting, speak } = this.#form.elements;
    return {
      voice: voice.value,
      language: language.value,
      speed: Number(speed.value),
      instructions: instructions.value,
      greeting: greeting.value,
      speak: speak.checked,
    };
  }

  /** What was chosen otherwise than the server does, each as a patch to a session. */
  get patches() {
    return sessionPatches(this.choice, this.#standard);
  }

  get #all() {
    return { ...this.choice, microphone: this.microphone, shortcuts: this.shortcuts };
  }

  get shortcuts() {
    return this.#form.elements.shortcuts.checked;
  }

  get microphone() {
    return this.#form.elements.microphone.value;
  }

  /** The chosen voice's name, without what is said about it in brackets. */
  get voiceLabel() {
    const label = this.#form.elements.voice.selectedOptions[0]?.textContent ?? "";
    return label.replace(/ \(.*\)$/, "");
  }

  /** @param {{id: string, label: string}[]} microphones */
  showMicrophones(microphones) {
    const { microphone } = this.#form.elements;
    const chosen = microphone.value || stored().microphone || "";
    microphone.replaceChildren(
      new Option("Default microphone", ""),
      ...microphones.map(({ id, label }) => new Option(label, id)),
    );
    microphone.value = microphones.some(({ id }) => id === chosen) ? chosen : "";
  }

  #fill() {
    const { voice, language, speed, instructions, greeting, speak } = this.#form.elements;
    for (const [label, voices] of voicesByLanguage(this.#config.voices)) {
      const group = document.createElement("optgroup");
      group.label = label;
      group.append(...voices.map(voiceOption));
      voice.append(group);
    }
    language.append(
      new Option("Any language", ""),
      ...namedLanguages(this.#config.languages).map(({ code, label }) => new Option(label, code)),
    );
    const { defaults } = this.#config;
    voice.value = defaults.voice;
    language.value = defaults.language ?? ""; // none given: it is told from what is said
    speed.value = defaults.speed;
    instructions.value = defaults.instructions;
    greeting.value = defaults.greeting;
    speak.checked = true;
  }

  #restore() {
    for (const [name, value] of Object.entries(stored())) {
      const field = this.#form.elements[name];
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value;
      else if (field.type !== "select-one" || selectable(field, value)) field.value = value;
    }
  }

  #onChange(field) {
    this.#remember();
    if (field.name === "language" && field.value) this.#matchVoice(field.value);
    if (!["microphone", "shortcuts"].includes(field.name)) this.#tell(field.name);
    if (field.name === "microphone")
      this.dispatchEvent(new CustomEvent("microphone", { detail: field.value }));
  }

  /** A voice speaks its own language only: another language asks for another voice. */
  #matchVoice(language) {
    const { voice } = this.#form.elements;
    const matching = voiceFor(this.#config.voices, voice.value, language);
    if (matching === voice.value) return;
    voice.value = matching;
    this.#remember();
    this.#tell("voice");
  }

  #tell(name) {
    this.dispatchEvent(
      new CustomEvent("change", { detail: { name, patch: sessionPatch(name, this.choice[name]) } }),
    );
  }

  #showSpeed() {
    const { speed } = this.#form.elements;
    const words = `${Number(speed.value).toFixed(2)}×`;
    this.#form.querySelector("#speed-output").textContent = words;
    speed.setAttribute("aria-valuetext", words);
  }

  /** Only what was changed is remembered, so that the server's new defaults reach those who keep them. */
  #remember() {
    const changed = Object.entries(this.#all).filter(([name, value]) => value !== this.#standard[name]);
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify(Object.fromEntries(changed)));
    } catch {
      // Storage is off (private browsing, or by policy): the choice holds until the page is left.
    }
  }
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORAGE_KEY)) ?? {};
  } catch {
    return {}; // off, or written by something else
  }
}

function voiceOption({ name, label, unavailable }) {
  const option = new Option(unavailable ? `${label} (unavailable)` : label, name);
  option.disabled = Boolean(unavailable);
  option.title = unavailable ?? "";
  return option;
}

function selectable(select, value) {
  return [...select.options].some((option) => option.value === value && !option.disabled);
}
