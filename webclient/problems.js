/**
 * What can go wrong with a call, said in words a caller can act on.
 *
 * A `Problem` is thrown inside the call logic and arrives at a page as the detail of a
 * "problem" event: `code` for programs, `message` for people.
 */

export class Problem extends Error {
  /**
   * @param {string} code stable, for programs
   * @param {string} message one or two sentences for the caller: what happened, what helps
   * @param {{retryable?: boolean, retryAfterS?: number | null, cause?: unknown}} [options]
   *   `retryable`: whether the same call may succeed a little later
   */
  constructor(code, message, { retryable = false, retryAfterS = null, cause } = {}) {
    super(message, { cause });
    this.name = "Problem";
    this.code = code;
    this.retryable = retryable;
    this.retryAfterS = retryAfterS;
  }
}

const MICROPHONE_PROBLEMS = {
  NotAllowedError: [
    "microphone-refused",
    "The browser did not give access to the microphone. Allow it in the address bar's site settings and " +
      "call again, or type instead.",
  ],
  NotFoundError: [
    "microphone-missing",
    "No microphone was found. Plug one in and call again, or type instead.",
  ],
  NotReadableError: [
    "microphone-busy",
    "The microphone could not be opened: another program may be using it. Close that program and call again.",
  ],
  SecurityError: ["microphone-refused", "This page is not permitted to use a microphone."],
};

/** The words for a failed `getUserMedia`, by the DOMException's name. @param {unknown} error */
export function microphoneProblem(error) {
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  const [code, message] = MICROPHONE_PROBLEMS[name] ?? [
    "microphone-failed",
    `The microphone could not be opened (${name || String(error)}).`,
  ];
  return new Problem(code, message, { cause: error });
}

export function insecureContextProblem() {
  return new Problem(
    "insecure-context",
    "Browsers give a microphone only to pages from https:// or from localhost. Open this page over https, " +
      "or on the machine that runs the server. Typing works here all the same.",
  );
}

export function iceProblem() {
  return new Problem(
    "ice-failed",
    "The server answered, but no path for the sound was found between it and this browser. A firewall or a " +
      "VPN may be blocking UDP; a TURN server in the server's configuration helps.",
    { retryable: true },
  );
}

/** @param {unknown} cause */
export function unreachableProblem(cause) {
  return new Problem(
    "server-unreachable",
    "The server does not answer. Is it running, and is the network up?",
    {
      retryable: true,
      cause,
    },
  );
}

/** @param {unknown} [cause] */
export function lostProblem(cause) {
  return new Problem("connection-lost", "The connection broke.", { retryable: true, cause });
}

/**
 * The words for a refused request, from its status and the Realtime API's `error` in its body.
 *
 * @param {number} status
 * @param {{code?: string, message?: string}} error empty where what answers is not this server
 * @param {string | null} retryAfter the Retry-After header, in seconds (a date is ignored)
 */
export function refusalProblem(status, error, retryAfter) {
  const retryAfterS = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : null;
  if (status === 503) {
    return new Problem(error.code ?? "server-unavailable", unavailable(error.message, retryAfterS), {
      retryable: true,
      retryAfterS,
    });
  }
  if (status === 401) {
    return new Problem("key-needed", "This server asks for a key. Open the page with it: add #key=… to its address.");
  }
  if (status === 403) {
    return new Problem("not-permitted", error.message ?? "The server does not permit calls from this page.");
  }
  return new Problem(
    error.code ?? "call-refused",
    `The server refused the call: ${error.message ?? `status ${status}`}`,
    { retryable: status >= 500 || status === 408 || status === 429, retryAfterS },
  );
}

/** The server's own words, and when to come back where they do not say it. */
function unavailable(message = "The server takes no calls just now.", retryAfterS) {
  if (/\btry again\b/i.test(message)) return message;
  if (!retryAfterS) return `${message} Try again in a moment.`;
  return `${message} Try again in ${retryAfterS} second${retryAfterS === 1 ? "" : "s"}.`;
}
