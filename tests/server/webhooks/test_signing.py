"""Signatures, checked with the library that receivers use."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from whisperlite.server.webhooks.signing import new_secret, parse_secret, signed_headers


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@given(st.binary(min_size=24, max_size=64), st.text())
def test_a_message_is_what_receivers_verify(key: bytes, text: str) -> None:
    body = text.encode("utf-8", "replace")
    headers = signed_headers(parse_secret(secret_of(key)), "request-1", body, time.time())
    Webhook(secret_of(key)).verify(body, headers, json_parse=False)


def test_the_signature_is_the_one_of_the_specification() -> None:
    # The example in the reference implementations of the specification.
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330.9)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_changed_body_is_not_verified() -> None:
    secret = new_secret()
    headers = signed_headers(parse_secret(secret), "request-1", b'{"text": "yes"}', time.time())
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(b'{"text": "no"}', headers)


def test_another_secret_does_not_verify() -> None:
    headers = signed_headers(parse_secret(new_secret()), "request-1", b"{}", time.time())
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(b"{}", headers)


def test_new_secrets_differ_and_have_32_bytes() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert len(parse_secret(one)) == 32


def test_a_secret_may_lack_its_padding() -> None:
    key = bytes(range(25))
    assert parse_secret(secret_of(key).rstrip("=")) == key


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "begin with whsec_"),
        (base64.b64encode(bytes(32)).decode(), "begin with whsec_"),
        ("whsec_", "has 0"),
        ("whsec_" + "!" * 40, "not base64"),
        ("whsec_" + "é" * 40, "not base64"),
        (secret_of(bytes(23)), "has 23"),
        (secret_of(bytes(65)), "has 65"),
    ],
)
def test_a_bad_secret_is_refused_and_not_repeated(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=part) as caught:
        parse_secret(text)
    assert len(text) < 8 or text.removeprefix("whsec_") not in str(caught.value)
