// Requests to the service. Owns the token, which is kept for this tab of the browser alone, and says failures in plain words.

const TOKEN = "dirigo.token";

/** A request that did not do what it was to. `isAway`: there was no answer. */
export class Failure extends Error {
  constructor(message, { status = 0, help, findings = [], rendered = "" } = {}) {
    super(message);
    Object.assign(this, { status, help, findings, rendered, isAway: status === 0 || status === 502 || status === 503 });
  }
}

export function token() {
  return sessionStorage.getItem(TOKEN);
}

export function signIn(text) {
  sessionStorage.setItem(TOKEN, text.trim());
}

export function signOut() {
  sessionStorage.removeItem(TOKEN);
}

/** The path of a pipeline in the API. */
export function pipelinePath(tenant, name, rest = "") {
  return `/api/v1/tenants/${encodeURIComponent(tenant)}/pipelines/${encodeURIComponent(name)}${rest}`;
}

async function answered(method, path, { body, type, signal } = {}) {
  const headers = { Authorization: `Bearer ${token()}` };
  if (body !== undefined) headers["Content-Type"] = type ?? "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(`The service at ${location.host} does not answer.`);
  }
  if (answer.ok) return answer;
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // A proxy in between may answer with something else.
  }
  throw new Failure(words(answer.status, problem), { ...problem, status: answer.status });
}

function words(status, problem) {
  const said = problem.error ? sentence(problem.error) : `The service answered with status ${status}.`;
  switch (status) {
    case 401:
      return "The service does not accept this token: it is not one of its tokens, or it has expired.";
    case 403:
      return `This token may not do that. ${said}`;
    case 502:
    case 503:
      return `The service at ${location.host} is not there, or is ending.`;
    default:
      return said;
  }
}

/** A message of the service, which begins in lower case, as a sentence. */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

/** The JSON that a request is answered with. */
export async function ask(method, path, options) {
  const answer = await answered(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, signal) => ask("GET", path, { signal });

/** The lines of an answer that comes bit by bit, each in JSON. */
export async function lines(path, take, signal) {
  const answer = await answered("GET", path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const complete = (rest + value).split("\n");
    rest = complete.pop();
    const read = complete.filter((line) => line).map((line) => JSON.parse(line));
    if (read.length) take(read);
  }
}
