"""What a scenario expects of its requests, `[[expect]]`, held against what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pagewake.observe.latency import Latency
from pagewake.scenario.model import Expect


class Expectation(msgspec.Struct, frozen=True):
    """One limit: in ns and at most, or requests a second and at least (`what` is `throughput`).

    `found` is null where no request was answered, which meets no limit on latencies.
    """

    of: str
    what: str
    limit: float
    found: float | None
    met: bool


def expectations(
    expects: Iterable[Expect], latency: Mapping[str, Latency]
) -> Iterator[Expectation]:
    """Every limit, in the order of the file."""
    for expect in expects:
        found = latency[expect.of]
        times_ns = found.times_ns()
        for what, limit_ns in expect.limits_ns().items():
            if limit_ns is not None:
                ns = times_ns[what]
                yield Expectation(expect.of, what, limit_ns, ns, ns is not None and ns <= limit_ns)
        least = expect.throughput
        if least is not None:
            per_s = found.throughput_per_s
            yield Expectation(expect.of, "throughput", least, per_s, per_s >= least)
