/** Keys for what is done often. Not heard while typing, and with a modifier they are the browser's. */

/**
 * @param {Record<string, () => void>} actions by the key's name, letters in lower case
 * @param {() => boolean} enabled
 */
export function listenForShortcuts(actions, enabled) {
  document.addEventListener("keydown", (event) => {
    if (
      !enabled() ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.repeat ||
      event.defaultPrevented
    )
      return;
    if (event.key !== "Escape" && isTextField(event.target)) return;
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function isTextField(target) {
  return (
    target instanceof HTMLElement &&
    (target.matches("input:not([type=range], [type=checkbox]), textarea, select") || target.isContentEditable)
  );
}
