// Validates an AsyncAPI document with the official parser, and prints the number of its channels, messages and operations.
//
//     asyncapi.js DOCUMENT

import { readFileSync } from "node:fs";

import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
// Severity 0 is an error, 1 a warning.
const problems = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, message, path } of problems) console.error(`${code}: ${message} (${path.join(".")})`);
if (document === undefined || problems.length > 0) process.exit(1);
const counts = [document.channels(), document.components().messages(), document.operations()].map((all) => all.length);
console.log(counts.join(" "));
