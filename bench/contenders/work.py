"""The work every contender does: choose a carrier, then book it. What differs is who runs it."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

RATES = [
    {"carrier": "northway", "service": "standard", "price": 6.40, "days": 3, "max_kg": 30},
    {"carrier": "swiftline", "service": "express", "price": 14.90, "days": 1, "max_kg": 20},
]
PROMISED = {"standard": 4, "express": 1}


def decide(order: dict[str, Any]) -> dict[str, Any]:
    fit = [r for r in RATES if r["days"] <= PROMISED[order["service"]] and order["weight_kg"] <= r["max_kg"]]
    best = min(fit, key=lambda rate: rate["price"])
    return {"branch": "book", "carrier": best["carrier"], "price": best["price"]}


def book(order: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"order": order, "carrier_selection": choice}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{os.environ['CARRIER_PORT']}/bookings", body,
        {"Content-Type": "application/json", "Idempotency-Key": order["id"]},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
