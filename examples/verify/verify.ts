// Checks the code of a Boxoffice ticket with the public keys of ListSigningKeys, without a network. It runs in Node 20 or newer and in
// browsers that have Ed25519 in WebCrypto (on pages with https), and uses nothing but the standard of the web.
//
//     node build/verify.js --keys keys.json --showtime UUID CODE
//
// prints what the code says as JSON. The exit code is 0 if the code is valid and 1 if not. A code may start with a space and has other
// characters that shells read, so it is written in quotes.
//
// A valid code was issued by the box office, that of a ticket for this showtime. That alone admits nobody. An offline door must still look in its list
// of the tickets of the showtime (GetDoorList) for the ticket with its random bytes, and refuse the code if
// - the ticket is not in the list: it is newer than the list, was voided or refunded, or was never sold;
// - its state is not ISSUED;
// - it was used before, at this door or, as far as the list knows, at another. Write each use down at once.
// The code of a purchase (kind "PURCHASE") names no showtime and no seats. It stands for those tickets with its purchase_id that are in the
// list, are valid by the same rules, and were not used before: one person for each. If the list has none of them, it admits nobody.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
const CONTEXT = new TextEncoder().encode("boxoffice-ticket");
const [CHARACTERS, CONTENT] = [140, 29];

export type Content = ({ kind: "SEAT"; showtime_id: string; seat_index: number } | { kind: "PURCHASE"; purchase_id: string }) & {
  random: string;
  key_id: number;
};
export type Result = ({ valid: true } & Content) | ({ valid: false; why: string } & Partial<Content>);

// Says whether a code is valid for a showtime, or is that of a purchase, and if not, why. `keys` has public keys as base64 or hex, by key id.
export async function verify(text: string, keys: Record<number, string>, showtimeId: string): Promise<Result> {
  const code = base45(text);
  if (typeof code === "string") return { valid: false, why: `NOT_A_CODE: ${code}` };
  const fields = new DataView(code.buffer);
  const [version, keyId, seat] = [fields.getUint8(0), fields.getUint16(1), fields.getUint16(27)];
  if ((version !== 1 && version !== 2) || (version === 2 && seat !== 0)) {
    return { valid: false, why: `NOT_A_CODE: version ${version} with seat ${seat} is unknown` };
  }
  const of = hex(code.slice(11, 27)).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  const signed = { random: hex(code.slice(3, 11)), key_id: keyId };
  const said: Content =
    version === 1
      ? { kind: "SEAT", showtime_id: of, seat_index: seat, ...signed }
      : { kind: "PURCHASE", purchase_id: of, ...signed };
  const key = keys[keyId];
  if (key === undefined) return { valid: false, why: "UNKNOWN_KEY: the key may be newer than these keys, or retired", ...said };
  const message = new Uint8Array([...CONTEXT, ...code.slice(0, CONTENT)]);
  const publicKey = await crypto.subtle.importKey("raw", keyBytes(key), { name: "Ed25519" }, false, ["verify"]);
  if (!(await crypto.subtle.verify({ name: "Ed25519" }, publicKey, code.slice(CONTENT), message))) {
    return { valid: false, why: "WRONG_SIGNATURE: the box office did not issue this code", ...said };
  }
  if (version === 1 && of !== showtimeId.toLowerCase()) return { valid: false, why: "WRONG_SHOWTIME", ...said };
  return { valid: true, ...said };
}

// The bytes of a code, or what is wrong with it. Base45 is RFC 9285; only the one text of these bytes is accepted.
function base45(text: string): Uint8Array<ArrayBuffer> | string {
  if (text.length !== CHARACTERS) return `it has ${text.length} characters instead of ${CHARACTERS}`;
  const values = [...text].map((character) => ALPHABET.indexOf(character));
  if (values.includes(-1)) return `the character at ${values.indexOf(-1)} is not one of base45`;
  const code: number[] = [];
  for (let start = 0; start < CHARACTERS; start += 3) {
    const group = values.slice(start, start + 3);
    const value = group.reduceRight((sum, digit) => sum * 45 + digit);
    if (value >= 256 ** (group.length - 1)) return `the characters at ${start} are too large`;
    code.push(...(group.length === 3 ? [value >> 8, value & 255] : [value]));
  }
  return new Uint8Array(code);
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The 32 bytes of a public key.
function keyBytes(text: string): Uint8Array<ArrayBuffer> {
  if (text.length === 64) return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Reads the JSON form of ListSigningKeysResponse.
export function readKeys(json: string): Record<number, string> {
  const { keys } = JSON.parse(json) as { keys: { keyId?: number; publicKey: string; retireTime?: string }[] };
  // Codes of retired keys are refused.
  return Object.fromEntries(keys.filter(({ retireTime }) => retireTime === undefined).map(({ keyId, publicKey }) => [keyId ?? 0, publicKey]));
}

// What the command line uses of Node. The rest needs no types but those of the web.
declare const process: { argv: string[]; exitCode?: number } | undefined;

async function main([first, keys, second, showtime, code]: string[]): Promise<number> {
  if (first !== "--keys" || second !== "--showtime" || keys === undefined || showtime === undefined || code === undefined) {
    console.error("usage: node verify.js --keys keys.json --showtime UUID CODE");
    return 2;
  }
  const files = "node:fs";
  const { readFileSync } = await import(files);
  const result = await verify(code, readKeys(readFileSync(keys, "utf8")), showtime);
  console.log(JSON.stringify(result));
  return result.valid ? 0 : 1;
}

// The file is a program only where Node started it.
if (typeof process !== "undefined" && process.argv[1]?.endsWith("verify.js")) process.exitCode = await main(process.argv.slice(2));
