"""Receives webhooks of Boxoffice, and prints the type and the subject of each event once.

    WEBHOOK_SECRETS="whsec_…" python receiver.py 8080 seen.db

It needs nothing but Python. While a secret is replaced, WEBHOOK_SECRETS has the old one and the new one, separated by a space.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

# A request that is older than this, or newer, is refused: somebody may have recorded it.
TOLERANCE = 5 * 60
LONGEST_BODY = 1 << 20


class Refused(Exception):
    """The request does not come from a sender that knows the secret, or it is not of now."""


def verify(secrets, headers, body, now=None):
    """Raises Refused unless the body was signed with one of the secrets within the last minutes."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id or not timestamp.isascii() or not timestamp.isdigit():
        raise Refused("the headers of a webhook are missing")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        raise Refused("the timestamp is too far from now")
    content = f"{id}.{timestamp}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    expected = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)) for key in keys]
    # There are several signatures while the sender replaces its secret.
    for signature in headers.get("webhook-signature", "").split(" "):
        version, _, value = signature.partition(",")
        # compare_digest takes the same time wherever the two differ.
        if version == "v1" and any(hmac.compare_digest(value.encode(), one) for one in expected):
            return
    raise Refused("no signature is right")


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LONGEST_BODY:
            return self.answer(413)
        body = self.rfile.read(length)
        try:
            verify(self.server.secrets, self.headers, body)
        except Refused as refused:
            print("refused:", refused, flush=True)
            return self.answer(400)
        # The id is noted in the transaction of the effect, so that an event that comes twice has its effect once.
        with self.server.store as store:
            noted = store.execute("INSERT OR IGNORE INTO seen VALUES (?)", (self.headers["webhook-id"],))
            if noted.rowcount == 1:
                apply(json.loads(body))
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        """Nothing is logged for a request."""


def apply(event):
    print(event["type"], event["subject"], flush=True)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    server.secrets = os.environ["WEBHOOK_SECRETS"].split()
    server.store = sqlite3.connect(sys.argv[2])
    server.store.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")
    print(f"receiving on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
