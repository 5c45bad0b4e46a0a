// Sends requests to the server; the result is a status and a reply, with status 0 if the server cannot be reached.

const PATIENCE_MS = 15_000;

/** `body` is an object (sent as JSON) or URLSearchParams (sent as a form). */
export async function call(method, url, body) {
  const form = body instanceof URLSearchParams;
  try {
    const reply = await fetch(url, {
      method,
      headers: { Accept: "application/json", ...(form ? {} : { "Content-Type": "application/json" }) },
      body: form ? body : JSON.stringify(body),
      redirect: "manual",
      credentials: "same-origin",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (reply.type === "opaqueredirect") return { status: 401, reply: {} };
    return { status: reply.status, reply: await readJson(reply) };
  } catch {
    return { status: 0, reply: {} };
  }
}

async function readJson(reply) {
  const json = reply.headers.get("Content-Type")?.includes("json");
  return json ? await reply.json() : {};
}

/** A random unique key. `crypto.randomUUID` is not available on plain-HTTP addresses of a local network. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
