// Serves the compiled receiver of examples/webhooks over HTTP, and prints the type and the subject of each event once.
//
//     WEBHOOK_SECRETS="whsec_…" node webhooks.js RECEIVER_MODULE

import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const { receiver } = await import(pathToFileURL(process.argv[2]));
const seen = new Set();
const handler = receiver(process.env.WEBHOOK_SECRETS.split(" "), async (id, event) => {
  if (seen.has(id)) return;
  seen.add(id);
  console.log(event.type, event.subject);
});

const server = createServer(async (incoming, outgoing) => {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const request = new Request(`http://localhost${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    body: Buffer.concat(chunks),
  });
  const answer = await handler(request);
  if (!answer.ok) console.log("refused:", await answer.text());
  outgoing.writeHead(answer.status).end();
});
server.listen(0, "127.0.0.1", () => console.log(`receiving on http://127.0.0.1:${server.address().port}`));
