// Receives webhooks of Boxoffice in any runtime that has fetch: Node, Deno, Bun, or a worker at the edge. It uses nothing but the
// standard of the web.

// A request that is older than this, or newer, is refused: somebody may have recorded it.
const TOLERANCE_SECONDS = 5 * 60;

export class Refused extends Error {}

// Throws Refused unless the body was signed with one of the secrets within the last minutes. While a secret is replaced there are
// two: the old one and the new one.
export async function verify(secrets: string[], headers: Headers, body: Uint8Array<ArrayBuffer>, now = Date.now()) {
  const id = headers.get("webhook-id") ?? "";
  const timestamp = headers.get("webhook-timestamp") ?? "";
  if (id === "" || !/^\d+$/.test(timestamp)) throw new Refused("the headers of a webhook are missing");
  if (Math.abs(now / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) {
    throw new Refused("the timestamp is too far from now");
  }
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const content = new Uint8Array(head.length + body.length);
  content.set(head);
  content.set(body, head.length);
  // There are several signatures while the sender replaces its secret.
  const signatures = (headers.get("webhook-signature") ?? "").split(" ");
  const values = signatures.filter((signature) => signature.startsWith("v1,")).map((signature) => bytes(signature.slice(3)));
  for (const secret of secrets) {
    const usage: KeyUsage[] = ["verify"];
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", bytes(secret.replace(/^whsec_/, "")), hmac, false, usage);
    for (const value of values) {
      // This takes the same time wherever the two differ.
      if (await crypto.subtle.verify("HMAC", key, value, content)) return;
    }
  }
  throw new Refused("no signature is right");
}

function bytes(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    // A signature that is not base64 is not right.
    return new Uint8Array();
  }
}

export interface Event {
  id: string;
  type: string;
  subject: string;
  data: Record<string, unknown>;
}

// A handler of requests. `handle` is called with the id of the delivery, which is the same when an event comes again: note it in the
// transaction of the effect, and do nothing if it was noted before.
export function receiver(secrets: string[], handle: (id: string, event: Event) => Promise<void>) {
  return async (request: Request): Promise<Response> => {
    const body = new Uint8Array(await request.arrayBuffer());
    try {
      await verify(secrets, request.headers, body);
    } catch (thrown) {
      if (thrown instanceof Refused) return new Response(thrown.message, { status: 400 });
      throw thrown;
    }
    await handle(request.headers.get("webhook-id")!, JSON.parse(new TextDecoder().decode(body)));
    return new Response(null, { status: 204 });
  };
}
