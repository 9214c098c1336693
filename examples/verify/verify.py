"""Checks the code of a Boxoffice ticket with the public keys of ListSigningKeys, without a network.

    python verify.py --keys keys.json --showtime UUID CODE

prints what the code says as JSON. The exit code is 0 if the code is valid and 1 if not. A code may start with a space and has other
characters that shells read, so it is written in quotes. It needs Python 3.10 and the package `cryptography`.

A valid code was issued by the box office, that of a ticket for this showtime. That alone admits nobody. An offline door must still look in its list
of the tickets of the showtime (GetDoorList) for the ticket with its random bytes, and refuse the code if
- the ticket is not in the list: it is newer than the list, was voided or refunded, or was never sold;
- its state is not ISSUED;
- it was used before, at this door or, as far as the list knows, at another. Write each use down at once.
The code of a purchase (kind "PURCHASE") names no showtime and no seats. It stands for those tickets with its purchase_id that are in the
list, are valid by the same rules, and were not used before: one person for each. If the list has none of them, it admits nobody.
"""

import argparse
import base64
import json
import sys
import uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
CONTEXT = b"boxoffice-ticket"
CHARACTERS, CONTENT = 140, 29


def verify(text, keys, showtime_id):
    """Says whether a code is valid for a showtime, or is that of a purchase, and if not, why. `keys` has public keys as base64 or hex, by key id."""
    try:
        code = base45(text)
    except ValueError as flaw:
        return {"valid": False, "why": f"NOT_A_CODE: {flaw}"}
    version, key_id, seat = code[0], int.from_bytes(code[1:3], "big"), int.from_bytes(code[27:29], "big")
    if version not in (1, 2) or (version == 2 and seat != 0):
        return {"valid": False, "why": f"NOT_A_CODE: version {version} with seat {seat} is unknown"}
    of = str(uuid.UUID(bytes=code[11:27]))
    what = {"kind": "SEAT", "showtime_id": of, "seat_index": seat} if version == 1 else {"kind": "PURCHASE", "purchase_id": of}
    said = {**what, "random": code[3:11].hex(), "key_id": key_id}
    if key_id not in keys:
        return {"valid": False, "why": "UNKNOWN_KEY: the key may be newer than these keys, or retired", **said}
    try:
        Ed25519PublicKey.from_public_bytes(key_bytes(keys[key_id])).verify(code[CONTENT:], CONTEXT + code[:CONTENT])
    except InvalidSignature:
        return {"valid": False, "why": "WRONG_SIGNATURE: the box office did not issue this code", **said}
    if version == 1 and of != str(uuid.UUID(showtime_id)):
        return {"valid": False, "why": "WRONG_SHOWTIME", **said}
    return {"valid": True, **said}


def base45(text):
    """The bytes of a code. Base45 is RFC 9285; only the one text of these bytes is accepted."""
    if len(text) != CHARACTERS:
        raise ValueError(f"it has {len(text)} characters instead of {CHARACTERS}")
    values = [ALPHABET.find(character) for character in text]
    if -1 in values:
        raise ValueError(f"{text[values.index(-1)]!r} is not a character of base45")
    code = bytearray()
    for start in range(0, CHARACTERS, 3):
        group = values[start : start + 3]
        value, size = sum(digit * 45**place for place, digit in enumerate(group)), len(group) - 1
        if value >= 256**size:
            raise ValueError(f"the characters at {start} are too large")
        code += value.to_bytes(size, "big")
    return bytes(code)


def key_bytes(text):
    """The 32 bytes of a public key."""
    return bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)


def read_keys(path):
    """Reads the JSON form of ListSigningKeysResponse. Codes of retired keys are refused."""
    with open(path, encoding="utf-8") as file:
        return {key.get("keyId", 0): key["publicKey"] for key in json.load(file)["keys"] if "retireTime" not in key}


def main():
    parser = argparse.ArgumentParser(description="Checks the code of a ticket without a network.")
    parser.add_argument("--keys", required=True, help='a file: {"keys": [{"keyId": 1, "publicKey": "<base64>"}]}')
    parser.add_argument("--showtime", required=True, type=uuid.UUID, help="the id of the showtime at this door")
    parser.add_argument("code", help="the 140 characters of the code, in quotes")
    arguments = parser.parse_args()
    result = verify(arguments.code, read_keys(arguments.keys), str(arguments.showtime))
    print(json.dumps(result))
    return 0 if result["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
