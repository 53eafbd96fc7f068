"""Where panels change colour: what alerts fire at, by the alert (a test holds them together)."""

from __future__ import annotations

from grafana.panels import Limit

AT = {
    "PagewakeServiceDown": 0,
    "PagewakeKafkaSilent": 10,
    "PagewakeRunBrokenOff": 0,
    "PagewakeRunStalled": 30,
    "PagewakeLagGrowing": 100,
    "PagewakeWindowsSlow": 1,
    "PagewakeDummiesLeaking": 10,
    "PagewakeSwapQueueSaturated": 64,
    "PagewakeRecordsRejected": 0,
}


def red_at(alert: str) -> list[Limit]:
    """Red from there on."""
    return [Limit(AT[alert], "red")]


def red_above_none(alert: str) -> list[Limit]:
    """Green at none, red at one: for what is counted and should not be."""
    assert AT[alert] == 0, f"{alert} fires at {AT[alert]}, not above 0"
    return [Limit(0, "green"), Limit(1, "red")]
