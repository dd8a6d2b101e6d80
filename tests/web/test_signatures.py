"""Only who holds the secret gets in, and nothing a stranger sends ends in anything but a refusal."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook

from openclaw_dagster.clock import MINUTE, SECOND
from openclaw_dagster.web.signatures import (
    SCHEMES,
    SchemeUnknown,
    SecretTooWeak,
    SignatureRefused,
    check_secret,
    message_id,
    sign,
    verify,
)

NOW = 1_790_000_000_000
BODY = b'{"order": {"id": "A-1", "value": 10.0}}'
TEXT_SECRET = "a secret that is long enough"
OTHER_TEXT = "another secret, long enough too"
WHSEC = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER_WHSEC = "whsec_" + base64.b64encode(b"j" * 32).decode()
STAMPED = ["standard-webhooks", "stripe", "slack"]
UNSTAMPED = ["github", "shopify", "hmac"]
SIGNATURE_HEADER = {
    "standard-webhooks": "webhook-signature",
    "github": "x-hub-signature-256",
    "stripe": "stripe-signature",
    "shopify": "x-shopify-hmac-sha256",
    "slack": "x-slack-signature",
    "hmac": "x-signature",
}
UNSIGNED_HEADERS = {"x-github-delivery", "x-shopify-webhook-id", "x-message-id"}


def secret_of(scheme: str) -> str:
    return WHSEC if scheme == "standard-webhooks" else TEXT_SECRET


def other_secret_of(scheme: str) -> str:
    return OTHER_WHSEC if scheme == "standard-webhooks" else OTHER_TEXT


def signed(scheme: str, body: bytes = BODY, now: int = NOW) -> dict[str, str]:
    return sign(scheme, secret_of(scheme), body, now, "msg_1")


def refusal(scheme: str, headers: dict[str, str], body: bytes = BODY, now: int = NOW) -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify(scheme, [secret_of(scheme)], headers, body, now)
    return caught.value.reason


# Vectors the vendors publish.


def test_github_s_published_example() -> None:
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }
    verify("github", ["It's a Secret to Everybody"], headers, b"Hello, World!", NOW)


def test_slack_s_published_example() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    verify("slack", ["8f742231b10e8888abcd99yyyzzz85a5"], headers, body, 1531420618 * SECOND)


def test_standard_webhooks_reference_vector() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    verify("standard-webhooks", [secret], headers, b'{"test": 2432232314}', 1614265330 * SECOND)


# The vendors' libraries, and the vendors' words, as oracles.


@given(st.binary(min_size=24, max_size=64), st.text(), st.from_regex(r"[!-\-/-~]{1,64}", fullmatch=True))
def test_the_reference_library_signs_the_same(key: bytes, text: str, given_id: str) -> None:
    body = text.encode("utf-8", "replace")
    secret = "whsec_" + base64.b64encode(key).decode()
    theirs = Webhook(secret).sign(given_id, datetime.fromtimestamp(NOW // SECOND, UTC), body.decode())
    assert sign("standard-webhooks", secret, body, NOW, given_id)["webhook-signature"] == theirs


def test_the_reference_library_takes_ours() -> None:
    now = int(datetime.now(UTC).timestamp() * SECOND)
    Webhook(WHSEC).verify(BODY, signed("standard-webhooks", now=now), json_parse=False)


@given(st.text())
def test_the_slack_library_agrees(text: str) -> None:
    body = text.encode("utf-8", "replace")
    headers = signed("slack", body)
    theirs = SignatureVerifier(TEXT_SECRET).generate_signature(
        timestamp=headers["x-slack-request-timestamp"], body=body
    )
    assert headers["x-slack-signature"] == theirs


def test_stripe_signs_the_timestamp_and_the_body_with_the_whole_secret() -> None:
    mac = hmac.new(WHSEC.encode(), f"{NOW // SECOND}.".encode() + BODY, hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={NOW // SECOND},v1={'0' * 64},v0={'1' * 64},v1={mac}"}
    verify("stripe", [WHSEC], headers, BODY, NOW)


def test_shopify_signs_the_body_in_base64() -> None:
    mac = base64.b64encode(hmac.new(TEXT_SECRET.encode(), BODY, hashlib.sha256).digest()).decode()
    verify("shopify", [TEXT_SECRET], {"x-shopify-hmac-sha256": mac}, BODY, NOW)


# Who gets in.


@pytest.mark.parametrize("scheme", SCHEMES)
@given(body=st.binary(max_size=200))
def test_what_was_signed_is_verified_byte_for_byte(scheme: str, body: bytes) -> None:
    verify(scheme, [secret_of(scheme)], signed(scheme, body), body, NOW)
    with pytest.raises(SignatureRefused):
        verify(scheme, [secret_of(scheme)], signed(scheme, body), body + b" ", NOW)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_json_in_other_bytes_is_another_body(scheme: str) -> None:
    respelt = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
    assert json.loads(respelt) == json.loads(BODY)
    assert "no signature matches" in refusal(scheme, signed(scheme), respelt)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_character_of_the_signature_counts(scheme: str) -> None:
    headers = signed(scheme)
    name = SIGNATURE_HEADER[scheme]
    good = headers[name]
    # The last base64 digit before the padding carries two bits that no byte needs.
    end = len(good) - 2 if good.endswith("=") else len(good)
    for position in range(len(good) - 40, end):
        swapped = "0" if good[position] != "0" else "1"
        refusal(scheme, {**headers, name: good[:position] + swapped + good[position + 1 :]})
        refusal(scheme, {**headers, name: good[:position]})


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("more", [" ", "\n", "=", "00", "\x00", "A" * 4])
def test_nothing_may_follow_the_signature(scheme: str, more: str) -> None:
    headers = signed(scheme)
    name = SIGNATURE_HEADER[scheme]
    if (scheme, more) == ("standard-webhooks", " "):
        verify(scheme, [secret_of(scheme)], {**headers, name: headers[name] + more}, BODY, NOW)
    else:
        refusal(scheme, {**headers, name: headers[name] + more})


def test_stripe_s_timestamp_stands_once() -> None:
    good = signed("stripe")["stripe-signature"]
    assert "timestamp" in refusal("stripe", {"stripe-signature": good + ",t=1"})


@pytest.mark.parametrize(("scheme", "between"), [("standard-webhooks", " "), ("stripe", ",")])
def test_a_good_signature_is_found_among_others_up_to_a_length(scheme: str, between: str) -> None:
    headers = signed(scheme)
    name = SIGNATURE_HEADER[scheme]
    wrong = sign(scheme, other_secret_of(scheme), BODY, NOW, "msg_1")[name].split(",", 1)[-1]
    one = f"{between}v1,{wrong}" if scheme == "standard-webhooks" else f",{wrong}"
    verify(scheme, [secret_of(scheme)], {**headers, name: headers[name] + one * 10}, BODY, NOW)
    assert "longer than 4096" in refusal(scheme, {**headers, name: headers[name] + one * 100})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_system_s_secret_is_refused(scheme: str) -> None:
    headers = sign(scheme, other_secret_of(scheme), BODY, NOW, "msg_1")
    assert "no signature matches" in refusal(scheme, headers)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_either_secret_of_a_rotation_is_taken(scheme: str) -> None:
    old, new = secret_of(scheme), other_secret_of(scheme)
    for used in (old, new):
        verify(scheme, [old, new], sign(scheme, used, BODY, NOW, "msg_1"), BODY, NOW)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [0, 3])
def test_no_secret_or_too_many_let_nobody_in(scheme: str, count: int) -> None:
    with pytest.raises(SignatureRefused, match=f"{count} live secrets"):
        verify(scheme, [secret_of(scheme)] * count, signed(scheme), BODY, NOW)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("weak", ["", " ", "short", "whsec_"])
def test_a_weak_secret_lets_nobody_in_even_beside_a_good_one(scheme: str, weak: str) -> None:
    empty = hmac.new(weak.encode(), BODY, hashlib.sha256).hexdigest()
    headers = {**signed(scheme), "x-signature": f"sha256={empty}", "x-hub-signature-256": f"sha256={empty}"}
    with pytest.raises(SignatureRefused):
        verify(scheme, [secret_of(scheme), weak], headers, BODY, NOW)


def test_one_scheme_s_signature_does_not_open_another() -> None:
    for one in SCHEMES:
        for other in SCHEMES:
            if one != other and other != "standard-webhooks":
                headers = sign(one, secret_of(one), BODY, NOW, "msg_1")
                refusal(other, headers)


def test_an_unknown_scheme_is_refused_by_name() -> None:
    for call in (
        lambda: verify("none", [TEXT_SECRET], {}, BODY, NOW),
        lambda: check_secret("none", TEXT_SECRET),
        lambda: sign("none", TEXT_SECRET, BODY, NOW, "msg_1"),
        lambda: message_id("none", {}),
    ):
        with pytest.raises(SchemeUnknown, match=r"'none'.*standard-webhooks"):
            call()


# When.


@pytest.mark.parametrize("scheme", STAMPED)
@pytest.mark.parametrize("drift", [-5 * MINUTE, 0, 5 * MINUTE])
def test_five_minutes_of_drift_are_allowed(scheme: str, drift: int) -> None:
    verify(scheme, [secret_of(scheme)], signed(scheme), BODY, NOW + drift)


@pytest.mark.parametrize("scheme", STAMPED)
@pytest.mark.parametrize(
    ("drift", "why"), [(5 * MINUTE + 1, "5 minutes old"), (-5 * MINUTE - 1, "5 minutes ahead")]
)
def test_more_drift_is_refused(scheme: str, drift: int, why: str) -> None:
    assert why in refusal(scheme, signed(scheme), now=NOW + drift)


@pytest.mark.parametrize("scheme", STAMPED)
def test_a_stale_request_cannot_be_stamped_anew(scheme: str) -> None:
    old, fresh = signed(scheme, now=NOW - 10 * MINUTE), signed(scheme)
    stale = {**old}
    for name in ("webhook-timestamp", "x-slack-request-timestamp"):
        if name in fresh:
            stale[name] = fresh[name]
    if scheme == "stripe":
        signature = old["stripe-signature"].split(",")[1]
        stale["stripe-signature"] = f"t={NOW // SECOND},{signature}"
    assert "no signature matches" in refusal(scheme, stale)


@pytest.mark.parametrize("scheme", UNSTAMPED)
def test_schemes_without_a_timestamp_verify_at_any_time(scheme: str) -> None:
    verify(scheme, [secret_of(scheme)], signed(scheme), BODY, NOW + 1000 * MINUTE)


def test_the_message_id_of_standard_webhooks_is_signed() -> None:
    headers = {**signed("standard-webhooks"), "webhook-id": "msg_2"}
    assert "no signature matches" in refusal("standard-webhooks", headers)


def test_a_full_stop_in_the_id_is_refused() -> None:
    assert "full stop" in refusal("standard-webhooks", {**signed("standard-webhooks"), "webhook-id": "a.1"})


# Headers nobody meant well with.

STRANGE = [
    "",
    " ",
    ",",
    "=",
    "\x00",
    "é",
    "١٢٣",
    "v1",
    "v1,",
    "v1,é",
    "v1,AAAA",
    "v1,!!!!",
    "v1,a,b",
    "v2," + "A" * 43 + "=",
    "v1a," + "A" * 43 + "=",
    "v1," + "A" * 43 + "= v1,",
    "V0=" + "0" * 64,
    "v0=" + "0" * 63,
    "v0=" + "٠" * 64,
    "v0=" + "g" * 64,
    "sha1=" + "0" * 40,
    "sha256=",
    "sha256=" + "0" * 64 + "\n",
    "0" * 64,
    "t=1,t=1,v1=" + "0" * 64,
    "t=1",
    "t=nan,v1=" + "0" * 64,
    "v1=" + "0" * 64,
    "-1",
    "1e9",
    "1_790_000_000",
    "1790000000.5",
    " 1790000000",
    "1790000000\n",
    "9" * 5000,
    "9" * 12,
    "inf",
    "v1," + "A" * 43 + "= " * 2000,
    " ".join(["v1," + "A" * 43 + "="] * 50),
    "\ud800",
    "A" * 100_000,
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_header_is_refused(scheme: str, strange: str) -> None:
    headers = signed(scheme)
    for name in headers.keys() - UNSIGNED_HEADERS:
        refusal(scheme, {**headers, name: strange})
    refusal(scheme, dict.fromkeys(headers, strange))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_missing_header_is_named(scheme: str) -> None:
    assert SIGNATURE_HEADER[scheme] in refusal(scheme, {})


HEADER_TEXT = st.one_of(
    st.text(max_size=80), st.sampled_from(STRANGE), st.sampled_from(["v1,", "v0=", "t=1"])
)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data(), body=st.binary(max_size=100), now=st.integers(-(2**63), 2**63))
@settings(max_examples=150)
def test_any_headers_and_any_body_end_in_a_refusal(
    scheme: str, data: st.DataObject, body: bytes, now: int
) -> None:
    names = st.sampled_from(list(signed(scheme)))
    headers = data.draw(st.dictionaries(names, HEADER_TEXT))
    with pytest.raises(SignatureRefused):
        verify(scheme, [secret_of(scheme)], headers, body, now)


@given(st.text(max_size=200))
@example("1790000000")
def test_no_timestamp_but_the_signed_one_passes(stamp: str) -> None:
    headers = {**signed("standard-webhooks"), "webhook-timestamp": stamp}
    if stamp == str(NOW // SECOND):
        verify("standard-webhooks", [WHSEC], headers, BODY, NOW)
    else:
        refusal("standard-webhooks", headers)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_refusal_says_no_secret_and_no_expected_signature(scheme: str) -> None:
    altered = BODY + b"!"
    expected = signed(scheme, altered)[SIGNATURE_HEADER[scheme]][-40:].rstrip("=")
    for headers in ({}, signed(scheme), *({name: text} for name in signed(scheme) for text in STRANGE)):
        with pytest.raises(SignatureRefused) as caught:
            verify(scheme, [secret_of(scheme)], headers, altered, NOW)
        said = f"{caught.value} {caught.value.reason} {caught.value.details} {caught.value.__cause__}"
        assert secret_of(scheme) not in said
        assert expected not in said


# Secrets that must not start.

WEAK = [None, "", " ", "\n\t ", "x", "fifteen bytes!!", " " + TEXT_SECRET, TEXT_SECRET + "\n", "\udc80" * 20]
WEAK_WHSEC = [
    "whsec_",
    "whsec_" + base64.b64encode(b"k" * 23).decode(),
    "whsec_" + base64.b64encode(b"k" * 65).decode(),
    base64.b64encode(b"k" * 32).decode(),
    "whsec_" + "é" * 40,
    "whsec_" + "-_" * 20,
    "whsec_" + "A" * 33,
    "whsec_" + base64.b64encode(b"k" * 32).decode() + "!!!!",
    "whsec_" + "A" * 20 + "\n" + "A" * 20,
    "WHSEC_" + base64.b64encode(b"k" * 32).decode(),
    TEXT_SECRET,
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("secret", WEAK)
def test_a_weak_secret_is_refused_with_its_repair(scheme: str, secret: str | None) -> None:
    with pytest.raises(SecretTooWeak) as caught:
        check_secret(scheme, secret)
    said = str(caught.value)
    assert scheme in said
    assert "Set it to" in said
    assert secret is None or len(secret.strip()) < 2 or secret.strip() not in said


@pytest.mark.parametrize("secret", WEAK_WHSEC)
def test_a_standard_webhooks_secret_has_its_own_form(secret: str) -> None:
    with pytest.raises(SecretTooWeak) as caught:
        check_secret("standard-webhooks", secret)
    assert secret == "whsec_" or secret not in str(caught.value)
    with pytest.raises(SecretTooWeak):
        sign("standard-webhooks", secret, BODY, NOW, "msg_1")


@pytest.mark.parametrize("size", [24, 25, 26, 64])
def test_good_standard_webhooks_secrets_padded_or_not(size: int) -> None:
    padded = "whsec_" + base64.b64encode(bytes(range(size))).decode()
    for secret in (padded, padded.rstrip("=")):
        check_secret("standard-webhooks", secret)
        headers = sign("standard-webhooks", padded, BODY, NOW, "msg_1")
        verify("standard-webhooks", [secret], headers, BODY, NOW)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "standard-webhooks"])
def test_sixteen_bytes_are_enough(scheme: str) -> None:
    check_secret(scheme, "sixteen bytes !!")
    check_secret(scheme, "é" * 8)


@given(st.sampled_from(SCHEMES), st.text())
def test_a_secret_passes_or_is_too_weak(scheme: str, secret: str) -> None:
    try:
        check_secret(scheme, secret)
    except SecretTooWeak:
        return
    verify(scheme, [secret], sign(scheme, secret, BODY, NOW, "msg_1"), BODY, NOW)


# Names of deliveries.


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_message_id_is_found_where_the_scheme_keeps_it(scheme: str) -> None:
    expected = None if scheme in ("stripe", "slack") else "msg_1"
    assert message_id(scheme, signed(scheme)) == expected
    assert message_id(scheme, {}) is None


@pytest.mark.parametrize("strange", ["", "a b", "a\nb", "\x1b[31m", "é", "x" * 257])
def test_an_id_unfit_for_a_log_is_left_out(strange: str) -> None:
    assert message_id("github", {"x-github-delivery": strange}) is None
    with pytest.raises(SignatureRefused, match="message id"):
        sign("github", TEXT_SECRET, BODY, NOW, strange)


def test_errors_survive_a_process_border() -> None:
    error = SignatureRefused(scheme="hmac", reason="no")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, str(again)) == (error.reason, str(error))
