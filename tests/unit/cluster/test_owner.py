"""One owned partition over a bus and a clock of the test's own."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from pagewake.cluster.cost import Spent
from pagewake.cluster.owner import JOURNAL_S, STALLED_S, LostError, Owner, _lost
from pagewake.engine.run import run_scenario
from pagewake.events.codec import APF_GUEST, FAULTS, JOURNAL_TOPIC
from pagewake.participants.participant import LapKind, Out
from pagewake.participants.plan import RUNS_TOPIC, SNAPSHOTS, RunPlan
from pagewake.scenario.loading import load
from tests.support.owners import SNAPSHOT_S, Owners

PLAN = RunPlan.of("r", load("natapov-2010", ["scenario.duration=400ms"]), 1)


@pytest.fixture
def cluster() -> Owners:
    return Owners(PLAN)


async def finished(cluster: Owners) -> tuple[Owner, Owner]:
    """Both owners at the end of the run."""
    host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
    while not (host.participant.ended and shard.participant.ended):
        await cluster.read(shard)
        await cluster.read(host)
    return host, shard


async def test_a_run_is_executed_to_its_end(cluster: Owners) -> None:
    host, shard = await finished(cluster)
    assert shard.tally.events == run_scenario(PLAN.scenario).events
    assert {FAULTS, APF_GUEST, JOURNAL_TOPIC} <= set(cluster.sent)
    assert host.lag == shard.lag == 0


async def test_who_spent_nothing_on_it_gives_no_account(cluster: Owners) -> None:
    _, shard = await finished(cluster)
    await shard.acknowledged()
    assert cluster.bus.logs[RUNS_TOPIC, 0] == []


async def test_the_account_says_once_who_owned_it_for_how_long(cluster: Owners) -> None:
    shard = await cluster.recovered(APF_GUEST)
    host = await cluster.recovered(FAULTS)
    lap = shard.participant.lap
    assert lap is not None

    def slow(part: LapKind) -> None:
        cluster.clock.advance(0.25)
        lap(part)

    shard.participant.lap = slow
    while not host.participant.ended:
        await cluster.read(shard)
        await cluster.read(host)
    for _ in range(2):
        await shard.acknowledged()
    (stored,) = cluster.bus.logs[RUNS_TOPIC, 0]
    assert stored.key == b"r/spent-guest-0"
    spent = msgspec.json.decode(stored.value or b"", type=Spent)
    assert spent.instance == "here"
    assert spent.codec_s + spent.simulation_s == pytest.approx(spent.until_s - spent.from_s)
    assert spent.simulation_s > 0
    sent = cluster.bus.values(cluster.name(JOURNAL_TOPIC)) + cluster.bus.values(
        cluster.name(FAULTS)
    )
    assert (spent.records, spent.size) == (len(sent), sum(map(len, sent)))


class TestSnapshots:
    async def test_one_is_due_when_so_much_time_went_into_records(self, cluster: Owners) -> None:
        host = await cluster.recovered(FAULTS)
        host.participant.lap = lambda _: cluster.clock.advance(SNAPSHOT_S)
        assert not await host.snapshot_if_due()
        await host.feed(0, b"{}")
        assert await host.snapshot_if_due()
        assert not await host.snapshot_if_due()
        assert len(cluster.bus.values(cluster.name(SNAPSHOTS))) > 1

    async def test_who_takes_over_goes_on_behind_it(self, cluster: Owners) -> None:
        host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        shard.participant.lap = lambda _: cluster.clock.advance(1.0)
        for _ in range(5):
            await cluster.read(shard)
            await cluster.read(host)
        assert await shard.snapshot()
        later = await cluster.recovered(APF_GUEST)
        assert (later.offset, later.participant.window) == (shard.offset, shard.participant.window)
        assert later.tally.state() == shard.tally.state()

    async def test_one_that_cannot_be_read_is_named_and_the_start_taken(
        self, cluster: Owners
    ) -> None:
        cluster.bus.append(cluster.name(SNAPSHOTS), 0, b"nonsense", b"a/manifest")
        host = await cluster.recovered(FAULTS)
        assert len(host.refused) == 1
        assert host.offset == 0
        assert cluster.bus.values(cluster.name(APF_GUEST)) != []

    async def test_none_is_taken_while_output_is_held_back(self, cluster: Owners) -> None:
        host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        host.participant.lap = lambda _: cluster.clock.advance(SNAPSHOT_S)
        cluster.command(FAULTS, "pause")
        await cluster.read(shard)
        await cluster.read(host)
        assert not await host.snapshot_if_due()


class TestReplay:
    async def test_records_that_stood_there_are_executed_again(self, cluster: Owners) -> None:
        await finished(cluster)
        again = await cluster.recovered(APF_GUEST)
        assert again.lag == again.log_end > 0
        caught_up = []
        for until in (again.log_end - 1, again.log_end):
            await cluster.read(again, until)
            caught_up.append(again.caught_up)
        assert caught_up == [False, True]
        assert again.replayed_ns == PLAN.scenario.duration_ns

    async def test_nothing_is_sent_for_a_run_that_is_over(self, cluster: Owners) -> None:
        await finished(cluster)
        cluster.sent.clear()
        again = await cluster.recovered(APF_GUEST, over=True)
        await cluster.read(again)
        assert again.participant.ended
        assert cluster.sent == []

    async def test_lag_is_what_the_broker_said_last(self, cluster: Owners) -> None:
        host = await cluster.recovered(FAULTS)
        host.note_end(7)
        assert host.lag == 7


class TestLoss:
    async def test_what_was_not_acknowledged_is_not_settled(self, cluster: Owners) -> None:
        cluster.bus.holding = True
        host = await cluster.recovered(FAULTS)
        assert not host.settled
        assert host.failed() is None
        cluster.bus.acknowledge()
        assert host.settled

    async def test_what_was_lost_is_named(self, cluster: Owners) -> None:
        cluster.bus.losing = True
        host = await cluster.recovered(FAULTS)
        assert not host.settled
        assert cluster.name(APF_GUEST) in str(host.failed())
        with pytest.raises(LostError, match="lost"):
            await host.acknowledged()

    async def test_who_was_told_of_a_loss_is_never_settled_again(self, cluster: Owners) -> None:
        host = await cluster.recovered(FAULTS)
        assert host.settled
        host.lose()
        assert not host.settled

    async def test_a_loss_that_is_forgotten_is_not_complained_of(self, cluster: Owners) -> None:
        cluster.bus.holding = True
        host = await cluster.recovered(FAULTS)
        host.forget()
        for future in cluster.bus.under_way:
            future.set_exception(KafkaError("gone"))  # a warning, so an error, if nobody looks


class TestPause:
    async def test_windows_are_held_back_until_it_ends(self, cluster: Owners) -> None:
        host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        cluster.command(FAULTS, "pause")
        await cluster.read(shard)
        before = len(cluster.bus.values(cluster.name(APF_GUEST)))
        await cluster.read(host)
        await host.release()
        assert host.wait_s() is None
        assert len(cluster.bus.values(cluster.name(APF_GUEST))) == before
        cluster.command(FAULTS, "resume")
        await cluster.read(host)
        assert len(cluster.bus.values(cluster.name(APF_GUEST))) > before
        assert [answer.ok for answer in cluster.answers] == [True, True]

    async def test_a_pace_is_kept(self, cluster: Owners) -> None:
        host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        cluster.command(FAULTS, "pace", speed=0.001)
        await cluster.read(host)
        waits = []
        for _ in range(3):
            await cluster.read(shard)
            await cluster.read(host)
            wait_s = host.wait_s()
            waits.append(wait_s)
            cluster.clock.advance(wait_s or 0.0)
            await host.release()
        assert waits[-1] is not None
        assert waits[-1] > 0


class TestWaiting:
    async def test_a_shard_that_does_not_answer_is_named_after_a_while(
        self, cluster: Owners
    ) -> None:
        host = await cluster.recovered(FAULTS)
        cluster.clock.advance(STALLED_S - 0.1)
        assert host.waiting_for() == []
        cluster.clock.advance(0.1)
        assert host.waiting_for() == [("guest-0", STALLED_S)]

    async def test_a_shard_waits_for_nobody(self, cluster: Owners) -> None:
        shard = await cluster.recovered(APF_GUEST)
        cluster.clock.advance(10 * STALLED_S)
        assert shard.waiting_for() == []

    async def test_nobody_is_waited_for_in_a_pause(self, cluster: Owners) -> None:
        host = await cluster.recovered(FAULTS)
        cluster.command(FAULTS, "pause")
        await cluster.read(host)
        cluster.clock.advance(10 * STALLED_S)
        assert host.waiting_for() == []

    async def test_nobody_is_waited_for_at_the_end(self, cluster: Owners) -> None:
        host, _ = await finished(cluster)
        cluster.clock.advance(10 * STALLED_S)
        assert host.waiting_for() == []

    async def test_a_window_lasts_from_its_opening_to_its_last_close(self, cluster: Owners) -> None:
        host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        cluster.clock.advance(0.5)
        await cluster.read(shard)
        await cluster.read(host)
        assert host.take_windows_s() == [0.5]
        assert host.take_windows_s() == []


async def test_a_record_of_nobody_is_rejected_and_passed_over(cluster: Owners) -> None:
    host = await cluster.recovered(FAULTS)
    rejected = await host.feed(0, b"{}")
    assert rejected is not None
    assert rejected.why == "malformed"
    assert host.offset == 1


class TestJournal:
    async def one_window(self, cluster: Owners) -> Owner:
        """A shard that has simulated the first window in which something happens."""
        host, shard = [await cluster.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        while not shard.unsent_journal:
            await cluster.read(shard)
            await cluster.read(host)
        return shard

    async def test_a_close_does_not_wait_for_it(self, cluster: Owners) -> None:
        await self.one_window(cluster)
        assert cluster.sent.count(FAULTS) > 0
        assert JOURNAL_TOPIC not in cluster.sent

    async def test_it_is_made_when_the_close_is_on_its_way(
        self, cluster: Owners, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shard = await cluster.recovered(APF_GUEST)
        await cluster.recovered(FAULTS)
        order: list[str] = []
        made, send = shard.participant.journal, cluster.bus.send

        async def sending(*arguments: Any) -> Any:
            order.append("sent")
            return await send(*arguments)

        async def leaving() -> None:
            order.append("on its way")

        def making() -> list[Out]:
            order.append("journal")
            return made()

        monkeypatch.setattr(cluster.bus, "send", sending)
        monkeypatch.setattr(cluster.bus, "on_its_way", leaving)
        monkeypatch.setattr(shard.participant, "journal", making)
        await cluster.read(shard, 1)
        assert order == ["sent", "on its way", "journal"]

    async def test_it_goes_out_soon_even_if_no_close_follows(self, cluster: Owners) -> None:
        shard = await self.one_window(cluster)
        await shard.release()
        assert JOURNAL_TOPIC not in cluster.sent
        cluster.clock.advance(JOURNAL_S)
        await shard.release()
        assert JOURNAL_TOPIC in cluster.sent
        assert not shard.unsent_journal

    async def test_much_of_it_goes_out_with_the_next_close(
        self, cluster: Owners, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pagewake.cluster.owner.JOURNAL_BYTES", 1)
        await finished(cluster)
        sent = [topic for topic in cluster.sent if topic in (FAULTS, JOURNAL_TOPIC)]
        first = sent.index(JOURNAL_TOPIC)
        assert sent[first - 1] == FAULTS
        assert sent.count(JOURNAL_TOPIC) > 2

    async def test_a_snapshot_is_behind_it(self, cluster: Owners) -> None:
        shard = await self.one_window(cluster)
        shard.participant.lap = lambda _: cluster.clock.advance(1.0)
        await cluster.read(shard)
        cluster.clock.advance(1.0)
        await shard.feed(shard.offset, b"{}")
        assert await shard.snapshot()
        assert JOURNAL_TOPIC in cluster.sent

    async def test_no_snapshot_is_taken_of_who_lost_a_close(self, cluster: Owners) -> None:
        """Its journal may not be made yet."""
        shard = await cluster.recovered(APF_GUEST)
        await cluster.recovered(FAULTS)
        cluster.bus.silent = True
        shard.participant.lap = lambda _: cluster.clock.advance(1.0)
        with pytest.raises(KafkaError):
            await shard.feed(0, cluster.bus.values(cluster.name(APF_GUEST))[0])
        cluster.bus.silent = False
        shard.lose()
        await shard.release()
        assert not await shard.snapshot()

    async def test_who_dies_before_it_is_sent_leaves_it_to_the_next_owner(
        self, cluster: Owners
    ) -> None:
        """At every record once: the journal has no gap, and each commit the same bytes."""
        await finished(cluster)
        whole = cluster.bus.values(cluster.name(JOURNAL_TOPIC))
        other = Owners(PLAN)
        host, shard = [await other.recovered(topic) for topic in (FAULTS, APF_GUEST)]
        lost = 0
        while not host.participant.ended:
            await other.read(shard)
            lost += shard.unsent_journal
            shard = await other.recovered(APF_GUEST)  # the one before is dead
            await other.read(host)
        await other.read(shard)
        assert lost > 0
        assert list(dict.fromkeys(other.bus.values(other.name(JOURNAL_TOPIC)))) == whole


async def test_a_record_that_may_not_be_written_says_which_right_is_missing() -> None:
    refused = asyncio.get_running_loop().create_future()
    refused.set_exception(TopicAuthorizationFailedError("pagewake.r.faults"))
    assert "Write on topic pagewake.r.faults" in str(_lost([("pagewake.r.faults", refused)]))
