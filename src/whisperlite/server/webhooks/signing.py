"""Signatures of webhooks, which prove to a receiver that a message is genuine, unchanged and recent.

Source: Standard Webhooks (standardwebhooks.com), symmetric signatures.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

_PREFIX = "whsec_"
_FEWEST_BYTES, _MOST_BYTES = 24, 64
_NEW_BYTES = 32


def new_secret() -> str:
    """Return a new random secret, in the form that `parse_secret` and receivers' libraries read."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode("ascii")


def parse_secret(text: str) -> bytes:
    """Return the key in a secret.

    Args:
        text: "whsec_" and base64 of 24 to 64 bytes; the padding may be missing.

    Raises:
        ValueError: if it has another form. The message does not repeat it.
    """
    form = f"A webhook secret is {_PREFIX} and base64 of {_FEWEST_BYTES} to {_MOST_BYTES} bytes"
    encoded = text.removeprefix(_PREFIX)
    if encoded == text:
        raise ValueError(f"{form}; this one does not begin with {_PREFIX}.")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"{form}; after {_PREFIX} this one is not base64.") from error
    if not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(f"{form}; this one has {len(key)}.")
    return key


def signed_headers(secret: bytes, id: str, body: bytes, now: float) -> dict[str, str]:
    """Return the three headers of a message.

    Args:
        secret: the key, from `parse_secret`.
        id: the id of the message, the same at every attempt; without a full stop.
        body: the exact bytes that are sent.
        now: the time of the attempt, in seconds of Unix time.
    """
    assert "." not in id, "the parts of what is signed are separated by full stops"
    timestamp = str(int(now))
    digest = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode('ascii')}",
    }
