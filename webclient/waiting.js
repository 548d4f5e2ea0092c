/** Promises that are settled from outside, and waits that can be broken off. */

/** @returns {{promise: Promise<any>, resolve: (value?: any) => void, reject: (reason: any) => void}} */
export function deferred() {
  let resolve, reject;
  const promise = new Promise((...settle) => ([resolve, reject] = settle));
  promise.catch(() => {}); // it may fail when nobody waits any longer
  return { promise, resolve, reject };
}

/** Waits; rejects when the call is hung up meanwhile. @param {number} duration_ms @param {AbortSignal} signal */
export function wait(duration_ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, duration_ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}
