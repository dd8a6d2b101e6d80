"""The four orders of `make demo`: what each is to show, and how it ended."""

from __future__ import annotations

import json
import time
import urllib.request

from openclaw_dagster.settings import Settings, read_settings

ORDERS = {
    "A-1001": ("is booked at once", {"id": "A-1001", "weight_kg": 2, "service": "standard"}),
    "A-1002": ("is booked at once, by express", {"id": "A-1002", "weight_kg": 1, "service": "express"}),
    "A-1003": ("meets a carrier that fails once, and is retried", {"id": "A-1003", "weight_kg": 4}),
    "A-1004": (
        "meets a carrier that always fails, and ends with the dead letters",
        {"id": "A-1004", "weight_kg": 9},
    ),
}


def send_orders(settings: Settings) -> None:
    """Post the orders, follow their cases in the ledger, and say how each ended."""
    from openclaw_dagster.store.database import Database
    from openclaw_dagster.store.ledger import Ledger

    ledger = Ledger(Database(settings.database))
    waiting: dict[str, str] = {}
    for key, (what, order) in ORDERS.items():
        answer = _post(
            f"http://{settings.host}:{settings.port}/hooks/dispatch/order_created", {"order": order}
        )
        waiting[key] = answer["case"]
        print(f"order {key} {what}: {answer['url']}")
    begun = time.monotonic()
    while waiting and time.monotonic() - begun < 180:
        time.sleep(0.5)
        for key, case_id in list(waiting.items()):
            case = ledger.case(case_id)
            if case and case.ended:
                del waiting[key]
                why = f" ({case.reason})" if case.reason else ""
                print(f"order {key} → {case.state.replace('_', ' ')}{why}")
    if not waiting:
        print("redrive the dead letter when its carrier is mended: claw dlq list")
    ledger.database.close()


def _post(url: str, body: object) -> dict[str, str]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, str] = json.load(answer)
    return found


if __name__ == "__main__":
    send_orders(read_settings())
