/** The conversation on the page, as it forms. Everything said is set as text, never as markup. */

import { splitHeard } from "./conversation.js";

const SPEAKERS = { user: "You", assistant: "Kokoro" };
/** How near the end counts as being there, so that reading further up is not disturbed. */
const END_MARGIN_PX = 60;

export class Transcript {
  #list;
  #announcer;
  #elements = new Map();
  /** Whether the end is in view: then it is kept there as text comes. */
  #following = true;
  #announced = new Set();

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} announcer a live region: it is told each text once, when it is whole
   */
  constructor(list, announcer) {
    this.#list = list;
    this.#announcer = announcer;
    list.addEventListener("scroll", () => {
      this.#following = list.scrollHeight - list.scrollTop - list.clientHeight < END_MARGIN_PX;
    });
    new ResizeObserver(() => this.#follow()).observe(list);
  }

  /**
   * @param {import("./conversation.js").Change} change
   * @param {string[]} order the ids of the whole conversation
   */
  apply({ kind, item }, order) {
    if (kind === "removed") {
      this.#elements.get(item.id)?.remove();
      this.#elements.delete(item.id);
    } else {
      this.#render(this.#elements.get(item.id) ?? this.#add(item, order), item);
      this.#announce(item);
    }
    this.#list.classList.toggle("empty", this.#elements.size === 0);
    this.#follow();
  }

  #follow() {
    if (this.#following) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #add(item, order) {
    const message = document.createElement("article");
    message.className = "message";
    message.dataset.role = item.role;
    message.dataset.itemId = item.id;
    message.append(paragraph("who", SPEAKERS[item.role]), paragraph("text"), paragraph("note"));
    const next = order.slice(order.indexOf(item.id) + 1).find((id) => this.#elements.has(id));
    this.#list.insertBefore(message, this.#elements.get(next) ?? null);
    this.#elements.set(item.id, message);
    return message;
  }

  #render(message, item) {
    const [heard, unheard] = splitHeard(item);
    const text = message.querySelector(".text");
    text.replaceChildren(heard);
    if (unheard.trim() !== "") {
      const cut = document.createElement("del");
      cut.className = "unheard";
      cut.textContent = unheard;
      text.append(cut);
    }
    message.querySelector(".note").textContent = note(item);
    message.classList.toggle("forming", !item.final);
    message.classList.toggle("interrupted", item.interrupted);
    message.hidden = item.final && item.text === "" && !item.failed;
  }

  #announce(item) {
    if (!item.final || item.text === "" || this.#announced.has(item.id)) return;
    this.#announced.add(item.id);
    this.#announcer.append(paragraph("", `${SPEAKERS[item.role]}: ${item.text}`));
    while (this.#announcer.children.length > 4) this.#announcer.firstChild.remove();
  }
}

function note(item) {
  if (item.failed) return "This could not be transcribed.";
  if (!item.interrupted) return "";
  if (item.heard === null) return "Interrupted";
  return item.heard.trim() === "" ? "Interrupted before it was heard" : "Interrupted: the rest was not heard";
}

function paragraph(className, text = "") {
  const element = document.createElement("p");
  element.className = className;
  element.textContent = text;
  return element;
}
