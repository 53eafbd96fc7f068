"""A cluster as stations that each window visits: how many windows a second there can be.

A window of a simulated host goes through the host service, Kafka and guest services, and the next
one of that host only then, so as many windows are under way as there are hosts.  With the demand of
each station, CPU seconds a window, the asymptotic bounds of operational analysis hold (P. J.
Denning, J. P. Buzen: The operational analysis of queueing network models, ACM Computing Surveys 10
(3), 1978), whatever the times are distributed like:

    windows/s <= simulated hosts / (a window's time when alone)
    windows/s <= 1 / (demand of the busiest process of a kind: its share of the partitions)
    windows/s <= cores / (demand of all processes and the broker)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from pagewake.cluster.settings import ServiceKind


class Station(NamedTuple):
    """A kind of service: CPU seconds for a window, and the partitions that its processes share."""

    service: ServiceKind
    cpu_s: float
    partitions: int

    def busiest_s(self, processes: int) -> float:
        """For a window, of the process that has most of them."""
        return self.cpu_s * _most_of(self.partitions, processes) / self.partitions

    def more_than(self, processes: int) -> int | None:
        """How many it takes for the busiest to have less; None if it has one partition."""
        most = _most_of(self.partitions, processes)
        return _most_of(self.partitions, most - 1) if most > 1 else None


class Model(NamedTuple):
    """The service times of a run; `alone_s` is from the opening of a window to that of the next."""

    hosts: int
    alone_s: float
    stations: Sequence[Station]
    broker_s: float

    @property
    def cpu_s(self) -> float:
        """For a window, of all processes and the broker."""
        return self.broker_s + sum(station.cpu_s for station in self.stations)

    def bounds(self, processes: Mapping[ServiceKind, int], cores: float = inf) -> dict[str, float]:
        """Windows a second that each station allows; `processes` of each service."""
        return {
            "round trips": self.hosts / self.alone_s,
            **{
                bound_of(station): 1 / station.busiest_s(processes[station.service])
                for station in self.stations
            },
            "cores": cores / self.cpu_s,
        }


def grown(model: Model, cores: float = inf) -> Iterator[dict[ServiceKind, int]]:
    """Clusters from one process of each kind on, each with more of those that bound the one before.

    Nothing that is added to the last one makes it faster.
    """
    processes = {station.service: 1 for station in model.stations}
    bounds = {bound_of(station): station for station in model.stations}
    while True:
        yield dict(processes)
        station = bounds.get(least(model.bounds(processes, cores))[0])
        more = None if station is None else station.more_than(processes[station.service])
        if station is None or more is None:
            return
        processes[station.service] = more


def _most_of(partitions: int, processes: int) -> int:
    """Partitions of the process that has most; as many processes as that leave so many each."""
    return -(-partitions // processes)


def bound_of(station: Station) -> str:
    """The name of the bound that a kind of service sets."""
    return f"{station.service} services"


def least(bounds: Mapping[str, float]) -> tuple[str, float]:
    """The bound that binds, and its name."""
    name = min(bounds, key=bounds.__getitem__)
    return name, bounds[name]
