// Two pages of a real browser on one showtime: one watches its seats, the other reserves some of them.
//
//     browser.js CHROMIUM ORIGIN URL DESCRIPTORS SHOWTIME_ID ROW NUMBER...
//
// prints what the pages received as one JSON object. The pages are not of the service's origin but of ORIGIN, which the
// browser resolves to the server in this program.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const [executablePath, origin, service, descriptors, showtime, row, ...numbers] = process.argv.slice(2);

const timeout = 20_000;

// The packages that the page imports, directly or indirectly.
const imported = [
  "@bufbuild/protobuf",
  "@bufbuild/protobuf/codegenv2",
  "@bufbuild/protobuf/wire",
  "@bufbuild/protobuf/wkt",
  "@connectrpc/connect",
  "@connectrpc/connect/protocol",
  "@connectrpc/connect/protocol-connect",
  "@connectrpc/connect/protocol-grpc-web",
  "@connectrpc/connect-web",
];
const here = new URL(".", import.meta.url).href;
// A browser can run the packages as they are, but needs an import map to find them.
const imports = Object.fromEntries(imported.map((name) => [name, import.meta.resolve(name).replace(here, "/")]));
// With an empty icon the browser does not request one.
const head = `<title>Seats</title><link rel="icon" href="data:,">`;
const html = `<!doctype html>${head}<script type="importmap">${JSON.stringify({ imports })}</script>`;

async function load(path) {
  if (path === "/") return { type: "text/html", content: html };
  if (path === "/descriptors.bin") return { type: "application/octet-stream", content: await readFile(descriptors) };
  if (path === "/page.js" || path.startsWith("/node_modules/")) {
    return { type: "text/javascript", content: await readFile(new URL(`.${path}`, here)) };
  }
  throw new Error(`nothing is at ${path}`);
}

const pages = createServer((request, response) => {
  load(new URL(request.url, origin).pathname).then(
    ({ type, content }) => response.writeHead(200, { "content-type": type }).end(content),
    (error) => response.writeHead(404).end(String(error)),
  );
});

async function withTimeout(what, promise) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

// Opens a page and returns a function that calls the functions of page.js in it.
async function open(browser) {
  const page = await withTimeout("a page", browser.newPage());
  page.on("console", (message) => console.error(`the page logs: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`the page fails: ${error.stack}`));
  await page.goto(`${origin}/?${new URLSearchParams({ service, showtime })}`, { timeout });
  const call = async ({ name, args }) => (await import("/page.js"))[name](...args);
  return (name, ...args) => withTimeout(name, page.evaluate(call, { name, args }));
}

async function visit(browser) {
  const [watcher, buyer] = [await open(browser), await open(browser)];
  const before = [await watcher("read", 0), await buyer("read", 0)];
  console.error("the pages are open");
  // The watch starts before the change, so the change must arrive as a delta.
  const received = [await watcher("next")];
  const reserved = await buyer("reserve", numbers.map((number) => ({ row, number: Number(number) })));
  do {
    received.push(await watcher("next"));
  } while (!(received.at(-1).delta?.revision >= reserved.revision));
  const after = await watcher("read", reserved.revision);
  return { before, received, reserved, after };
}

pages.listen(0, "127.0.0.1");
await once(pages, "listening");
try {
  const browser = await chromium.launch({
    executablePath,
    // The sandbox does not work for root, and no foreign pages are opened.
    chromiumSandbox: false,
    timeout,
    args: [`--host-resolver-rules=MAP ${new URL(origin).host}:80 127.0.0.1:${pages.address().port}`],
  });
  try {
    console.log(JSON.stringify(await visit(browser)));
  } finally {
    await browser.close();
  }
} finally {
  pages.close();
  pages.closeAllConnections();
}
