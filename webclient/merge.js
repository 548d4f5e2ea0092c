/**
 * A session with a patch applied, as `session.update` applies one.
 *
 * Plain objects are merged field by field; anything else, lists included, is replaced. Neither argument is
 * changed.
 *
 * @param {object} base
 * @param {object} patch
 * @returns {object}
 */
export function merge(base, patch) {
  const merged = { ...base };
  for (const [key, value] of Object.entries(patch)) {
    merged[key] = isPlainObject(value) ? merge(isPlainObject(base[key]) ? base[key] : {}, value) : value;
  }
  return merged;
}

function isPlainObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
