"""Several hosts, Celery and a RabbitMQ between them: what it does otherwise than a Redis, and the same bookings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from ..services.rabbitmq import RabbitMQ
from ..services.rabbitmq import running as running_rabbitmq
from .place import Place, a_host_is_killed_in_a_burst, a_run_is_terminated, several, workers_die_in_a_call

pytestmark = [pytest.mark.xdist_group("e2e_rabbitmq"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give two web hosts, a daemon and two worker hosts with a RabbitMQ between them."""
    with running_rabbitmq() as broker, several(tmp_path_factory.mktemp("hosts"), broker) as found:
        yield found


def test_orders_that_come_one_by_one(place: Place) -> None:
    waited = []
    for number in range(10):
        order, since = f"single-{number}", time.time()
        place.send([order])
        waited.append(place.carrier.saw(order) - since)
        time.sleep(0.3)
    print(f"event → action over RabbitMQ: median {1000 * statistics.median(waited):.0f} ms")


def test_a_burst_with_one_worker_host_killed_in_its_middle(place: Place) -> None:
    # what a dead host had not acknowledged, RabbitMQ hands to the other one at once: it finds the claim started
    a_host_is_killed_in_a_burst(place)


def test_a_worker_that_dies_gives_its_case_back_at_once(place: Place) -> None:
    workers_die_in_a_call(place)


def test_a_run_that_is_terminated_ends_and_its_case_goes_on(place: Place) -> None:
    a_run_is_terminated(place)


def test_the_broker_is_killed_and_has_what_it_had_when_it_is_back(place: Place) -> None:
    assert isinstance(place.broker, RabbitMQ)
    before = place.send([f"before-{number}" for number in range(20)])
    place.broker.kill()
    during = place.send([f"during-{number}" for number in range(20)])
    time.sleep(5)
    assert any(place.case(case_id).state != "completed" for case_id in during.values())
    place.broker.start()
    back = time.monotonic()
    place.once(before | during)
    print(f"RabbitMQ killed: all completed {time.monotonic() - back:.1f} s after it was back")
    log = place.logs()
    assert f"The broker amqp://127.0.0.1:{place.broker.port}" in log
    assert place.broker.password not in log
