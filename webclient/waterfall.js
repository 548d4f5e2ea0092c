/** Where each turn's time went: one lane a stage, from the end of the caller's speech to the first sound. */

/** How the stages are called on the page; one that is not known here keeps its name. */
const STAGE_LABELS = {
  endpoint: "Turn end",
  stt: "Speech to text",
  llm: "Language model",
  tts: "Voice",
  playout: "Playout",
  network: "Network",
};

const MOST_TURNS = 20;

export class Waterfall {
  #list;
  #count = 0;

  /** @param {HTMLElement} list an `ol` */
  constructor(list) {
    this.#list = list;
  }

  /** Shows a turn, as the newest: open, and the older ones folded. @param {import("./latency.js").TurnLatency} latency */
  add(latency) {
    for (const details of this.#list.querySelectorAll("details[open]")) details.open = false;
    this.#count += 1;
    this.#list.prepend(turnRow(latency, this.#count));
    while (this.#list.children.length > MOST_TURNS) this.#list.lastChild.remove();
    this.#scale();
  }

  clear() {
    this.#list.replaceChildren();
    this.#count = 0;
  }

  /** Folded turns share one scale, so that their lengths can be compared. */
  #scale() {
    const rows = [...this.#list.children];
    const longest_ms = Math.max(...rows.map((row) => Number(row.dataset.totalMs)));
    for (const row of rows) {
      const share = (100 * Number(row.dataset.totalMs)) / longest_ms;
      row.querySelector(".strip").style.setProperty("width", `${share}%`);
    }
  }
}

/**
 * Where a stage lies in its turn.
 *
 * @param {import("./latency.js").Stage} stage
 * @param {number} span_ms the whole width
 * @returns {{left: number, width: number}} in percent, within 0 and 100
 */
export function place({ start_ms, duration_ms }, span_ms) {
  const percent = (time_ms) => Math.min(100, Math.max(0, (100 * time_ms) / span_ms));
  const left = percent(start_ms);
  return { left, width: percent(start_ms + duration_ms) - left };
}

/** The time that all of a turn's stages fit in. @param {import("./latency.js").TurnLatency} latency */
export function span({ stages, total_ms }) {
  return Math.max(total_ms, 1, ...stages.map(({ start_ms, duration_ms }) => start_ms + duration_ms));
}

function turnRow(latency, number) {
  const row = element("li", "turn");
  row.dataset.totalMs = String(Math.round(latency.total_ms));
  row.dataset.serverMs = String(Math.round(latency.server_ms));
  const details = element("details");
  details.open = true;
  const summary = element("summary");
  summary.append(
    element("span", "turn-number", `Turn ${number}`),
    strip(latency),
    element("span", "turn-total", milliseconds(latency.total_ms)),
  );
  const lanes = element("dl", "lanes");
  for (const stage of latency.stages) lanes.append(lane(stage, span(latency)));
  details.append(summary, lanes);
  row.append(details);
  return row;
}

/** All stages on one line, for a folded turn. */
function strip(latency) {
  const line = element("span", "strip");
  line.setAttribute("aria-hidden", "true");
  for (const stage of latency.stages) line.append(bar(stage, span(latency)));
  return line;
}

function lane(stage, span_ms) {
  const group = element("div", "lane");
  const label = element("dt", "", STAGE_LABELS[stage.name] ?? stage.name);
  const track = element("dd", "track");
  track.setAttribute("aria-hidden", "true");
  track.append(bar(stage, span_ms));
  const figure = element("dd", "figure", milliseconds(stage.duration_ms));
  figure.append(element("span", "visually-hidden", `, beginning at ${milliseconds(stage.start_ms)}`));
  group.append(label, track, figure);
  return group;
}

function bar(stage, span_ms) {
  const mark = element("span", "bar");
  mark.dataset.stage = stage.name;
  const { left, width } = place(stage, span_ms);
  mark.style.setProperty("left", `${left}%`);
  mark.style.setProperty("width", `${width}%`);
  return mark;
}

/** @param {number} duration_ms */
function milliseconds(duration_ms) {
  return `${Math.round(duration_ms)} ms`;
}

function element(name, className = "", text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}
