// Calls of the HTTP API. Errors are RFC 9457 problem documents with a stable `code`.

/** An answer that is not the wished one. `code` is the server's, or "unreachable". */
export class ApiError extends Error {
  /**
   * @param {string} code
   * @param {string} detail
   * @param {number} status 0: there was no answer
   */
  constructor(code, detail, status) {
    super(detail || code);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{token?: string | null, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<any>} the JSON answer; null when it is empty
 */
export async function callApi(method, path, { token, body, signal } = {}) {
  const headers = new Headers({ Accept: "application/json" });
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    throw new ApiError("unreachable", String(error), 0);
  }
  if (!response.ok) throw await readProblem(response);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
export async function readProblem(response) {
  let problem;
  try {
    problem = await response.json();
  } catch {
    problem = null; // a proxy's page, say
  }
  const code = typeof problem?.code === "string" ? problem.code : `http_${response.status}`;
  return new ApiError(code, problem?.detail ?? problem?.title ?? "", response.status);
}

/**
 * *path* with *token* in its query, for what can send no header (EventSource, media, WebSocket).
 * @param {string} path
 * @param {string | null} token
 */
export function withToken(path, token) {
  if (!token) return path;
  const mark = path.includes("?") ? "&" : "?";
  return `${path}${mark}access_token=${encodeURIComponent(token)}`;
}
