/** The key that a page was opened with, and how requests carry it. */

const STORED = "voxtral-kokoro-key";

/**
 * The key of `…/#key=…`, which stays as long as the tab is open, and is taken out of the address at once.
 *
 * @param {Location} location
 * @param {History} history
 * @param {Storage} storage
 * @returns {string | null} null where the page was opened without one
 */
export function keyOfPage(location, history, storage) {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key) {
    storage.setItem(STORED, key);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return storage.getItem(STORED);
}

/** The headers that say who calls. @param {string | null} key */
export function keyHeaders(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Likewise for a WebSocket, which takes no headers: its subprotocols. @param {string | null} key */
export function keyProtocols(key) {
  return key ? ["realtime", `openai-insecure-api-key.${key}`] : [];
}
