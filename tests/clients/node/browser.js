// Two pages of a real browser on one showtime: one watches its seats, the other reserves some of them.
//
//     browser.js CHROMIUM ORIGIN URL DESCRIPTORS SHOWTIME_ID ROW NUMBER...
//
// prints what the pages saw as one JSON object. The pages are not of the service's origin but of ORIGIN, which the
// browser is told to find in here.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const [executablePath, origin, service, descriptors, showtime, row, ...numbers] = process.argv.slice(2);

const patience = 20_000;

// All that the page imports, and that those import.
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
// Packages are modules that a browser understands as they are, if it is told where each of them begins.
const imports = Object.fromEntries(imported.map((name) => [name, import.meta.resolve(name).replace(here, "/")]));
// Without an icon of their own, pages would be asked for one that is not there.
const head = `<title>Seats</title><link rel="icon" href="data:,">`;
const html = `<!doctype html>${head}<script type="importmap">${JSON.stringify({ imports })}</script>`;

async function find(path) {
  if (path === "/") return { type: "text/html", content: html };
  if (path === "/descriptors.bin") return { type: "application/octet-stream", content: await readFile(descriptors) };
  if (path === "/page.js" || path.startsWith("/node_modules/")) {
    return { type: "text/javascript", content: await readFile(new URL(`.${path}`, here)) };
  }
  throw new Error(`nothing is at ${path}`);
}

const pages = createServer((request, response) => {
  find(new URL(request.url, origin).pathname).then(
    ({ type, content }) => response.writeHead(200, { "content-type": type }).end(content),
    (error) => response.writeHead(404).end(String(error)),
  );
});

async function inTime(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${patience} ms`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// A visitor with a page of his own, as a function that asks the page to do something.
async function open(browser) {
  const page = await inTime("a page", browser.newPage());
  page.on("console", (message) => console.error(`the page says: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`the page fails: ${error.stack}`));
  await page.goto(`${origin}/?${new URLSearchParams({ service, showtime })}`, { timeout: patience });
  const call = async ({ what, given }) => (await import("/page.js"))[what](...given);
  return (what, ...given) => inTime(what, page.evaluate(call, { what, given }));
}

async function visit(browser) {
  const [watcher, buyer] = [await open(browser), await open(browser)];
  const before = [await watcher("look", 0), await buyer("look", 0)];
  console.error("the pages are open");
  // The watch has begun before anything changes, so that the change must be told.
  const heard = [await watcher("hear")];
  const reserved = await buyer("reserve", numbers.map((number) => ({ row, number: Number(number) })));
  do {
    heard.push(await watcher("hear"));
  } while (!(heard.at(-1).delta?.revision >= reserved.revision));
  const after = await watcher("look", reserved.revision);
  return { before, heard, reserved, after };
}

pages.listen(0, "127.0.0.1");
await once(pages, "listening");
try {
  const browser = await chromium.launch({
    executablePath,
    // The sandbox does not work for root, and nobody else's pages are opened.
    chromiumSandbox: false,
    timeout: patience,
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
