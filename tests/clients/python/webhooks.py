"""Verifies webhooks with the library of Standard Webhooks.

    webhooks.py < REQUESTS

reads a JSON array of requests, each with a secret, headers and a body, and prints a JSON array that says of each whether it is right.
"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def is_right(request):
    try:
        Webhook(request["secret"]).verify(request["body"], request["headers"])
        return True
    except WebhookVerificationError:
        return False


print(json.dumps([is_right(request) for request in json.load(sys.stdin)]))
