"""A project like a customer's: the sample byte for byte, systems like it, and an environment of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..services.sample import copy_sample

SAMPLE = Path(__file__).parents[2] / "claw_specs"

ENVIRONMENT = """\
lease: 15s
adapters:
{adapters}
constants:
  carrier_rates:
    - {{carrier: northway, service: standard, price: 6.40, days: 3, max_kg: 30}}
    - {{carrier: swiftline, service: express, price: 14.90, days: 1, max_kg: 20}}
  sla_policy:
    standard: {{max_days: 4}}
    express: {{max_days: 1}}
"""

#: What each bad policy does, and the line at which it does it.
BAD_POLICIES = {
    "loops": (
        4,
        """\
// Goes round for ever, as soon as it is asked.
export default function decide({ order }: { order: { id: string } }) {
  let turns = 0;
  while (order.id !== "") turns += 1;
  return { branch: String(turns) };
}
""",
    ),
    "hoards": (
        5,
        """\
// Takes memory and never gives any back.
export default function decide({ order }: { order: { id: string } }) {
  const kept: string[][] = [];
  while (order.id !== "") {
    kept.push(new Array<string>(100000).fill(order.id));
  }
  return { branch: String(kept.length) };
}
""",
    ),
    "clocks": (
        4,
        """\
// Reads the clock under a name that no reading of the text finds.
export default function decide() {
  const hidden = ["Da", "te"].join("");
  const clock = (globalThis as unknown as Record<string, { now(): number }>)[hidden];
  return { branch: String(clock!.now()) };
}
""",
    ),
    "nonsense": (
        1,
        """\
// Answers with a number, which is no decision.
export default function decide() {
  return 42;
}
""",
    ),
}

#: Books into a record store that nobody here wrote, which wants its content under `data`.
SHELF_CONTRACT = """\
summary: Keeps bookings as records of a Kinto server.
operations:
  book:
    effect: write
    summary: Create the record of a booking.
    http: {method: POST, path: /buckets/shop/collections/bookings/records}
"""
SHELF = {
    "action: carrier.book": """action: shelf.book
      with: {data: {order: "${order.id}", carrier: "${carrier_selection.carrier}"}}"""
}

WEBHOOK = """order_created:
      source: webhook
      idempotency: order.id"""
SCHEDULE = """every_minute:
      source: schedule
      cron: "* * * * *\""""
MINUTELY = {
    WEBHOOK: SCHEDULE,
    "inputs: [order, carrier_rates, sla_policy]": "inputs: [tick]",
    "./policies/carrier.policy.ts": "./policies/minute.policy.ts",
    "action: carrier.book": 'action: carrier.book\n      with: {order: {id: "${tick.at}"}}',
}
MINUTE_POLICY = """\
// Every minute is as good as any other.
export default function decide({ tick }: { tick: { at: string } }) {
  return { branch: "go", reason: `it is ${tick.at}` };
}
"""


def like_the_sample(name: str, changes: Mapping[str, str] | None = None) -> str:
    """Return the sample under another name, with some of its words replaced."""
    text = (SAMPLE / "dispatch.claw").read_text()
    text = text.replace("system: dispatch", f"system: {name}").replace("dispatch_latency", f"{name}_latency")
    for old, new in (changes or {}).items():
        assert old in text, f"the sample has no {old!r} any more"
        text = text.replace(old, new)
    return text


def make_project(folder: Path, carrier: str, shelf: str | None = None, *, minutely: bool = False) -> Path:
    """Write a project into an empty folder; `carrier` and `shelf` are where its adapters lead."""
    specs = folder / "claw_specs"
    copy_sample(specs)
    (specs / "brisk.claw").write_text(
        like_the_sample("brisk", {"retries: 3": "retries: 3\n      timeout: 2s"})
    )
    for name, (_, policy) in BAD_POLICIES.items():
        (specs / f"{name}.claw").write_text(like_the_sample(name, {"carrier.policy.ts": f"{name}.policy.ts"}))
        (specs / "policies" / f"{name}.policy.ts").write_text(policy)
    bound = {"carrier": carrier} | ({"shelf": shelf} if shelf else {})
    if shelf:
        (specs / "adapters").mkdir()
        (specs / "adapters" / "shelf.yaml").write_text(SHELF_CONTRACT)
        (specs / "shelving.claw").write_text(like_the_sample("shelving", SHELF))
    if minutely:
        (specs / "minutely.claw").write_text(like_the_sample("minutely", MINUTELY))
        (specs / "policies" / "minute.policy.ts").write_text(MINUTE_POLICY)
    lines = [f"  {name}: {{use: http, url: '{url}', allow_private: true}}" for name, url in bound.items()]
    (specs / "environments" / "staging.yaml").write_text(ENVIRONMENT.format(adapters="\n".join(lines)))
    return specs
