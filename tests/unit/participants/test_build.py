"""What the participants of a run are made of, as the scenario says it."""

from __future__ import annotations

import pytest

from pagewake.events import types as ev
from pagewake.guest_kernel.kernel import GuestKernel
from pagewake.host_memory.frames import Watermarks
from pagewake.kvm.config import VmConfig
from pagewake.nested_svm.exit_codes import EXCP_PF, HLT, INTR, IOIO, MSR, VMRUN
from pagewake.nested_svm.inner_guest import InnerGuests
from pagewake.nested_svm.inner_vcpu import MSR_INTERCEPTED, MSR_PASSED_THROUGH
from pagewake.nested_svm.routing import intercept
from pagewake.participants.build import build_shard, controls_of, host_config
from pagewake.participants.guests import vm_config
from pagewake.participants.nested import intercepts_of_kvm
from pagewake.scenario.model import Scenario
from tests.unit.participants.scenes import NESTED, plans, scene, task

LIMIT = 256
"""Pages of a scene's VM that may be resident."""


def built(scenario: Scenario) -> GuestKernel:
    return build_shard(scenario, plans(scenario)[:1]).kernels[0]


def config_of(scenario: Scenario) -> VmConfig:
    return vm_config(scenario, scenario.instances()[0], 3)


class TestMemoryAtTimeZero:
    def test_the_stock_is_a_sixteenth_of_the_limit_and_no_more_than_two_batches_a_vcpu(
        self,
    ) -> None:
        stocks = [
            plans(scene(task("a"), limit=limit))[0].start.stock_pages
            for limit in ("4KiB", "8KiB", "1MiB", "1GiB")
        ]
        assert stocks == [0, 1, LIMIT // 16, 2 * 2 * 64]

    def test_what_is_populated_is_resident_with_reclaim_at_rest(self) -> None:
        (plan,) = plans(scene(task("a", 'working_set = "2MiB"', "populated = true")))
        assert len(plan.populated) == 512
        free = Watermarks(LIMIT, plan.start.reserve_pages).high
        assert plan.resident.sum() == LIMIT - plan.start.stock_pages - free

    def test_a_task_may_ask_for_less_of_it(self) -> None:
        quiet = task("quiet", "populated = true", 'resident = "8KiB"')
        (plan,) = plans(scene(quiet, task("loud", "populated = true")))
        assert [int(plan.resident[:8].sum()), int(plan.resident[8:].sum())] == [2, 8]

    def test_vms_of_one_table_differ_in_which_pages(self) -> None:
        scenario = scene(task("a", 'working_set = "2MiB"', "populated = true"), vm="count = 2")
        first, second = (build_shard(scenario, [plan]) for plan in plans(scenario))
        states = [shard.kernels[0].vm.pages.state for shard in (first, second)]
        assert states[0] != states[1]

    def test_nothing_populated_is_nothing(self) -> None:
        (plan,) = plans(scene(task("a")))
        assert len(plan.populated) == 0


class TestVmConfig:
    def test_periods_come_from_frequencies(self) -> None:
        found = config_of(
            scene(task("a"), kernel="hz = 250\nidle_hz = 20", host="hz = 100\nexits_per_s = 2000")
        )
        assert (found.tick_ns, found.idle_tick_ns) == (4_000_000, 50_000_000)
        assert (found.host_tick_ns, found.background_exit_ns) == (10_000_000, 500_000)

    def test_a_frequency_of_zero_is_no_period(self) -> None:
        found = config_of(scene(task("a"), kernel="hz = 0\nidle_hz = 0"))
        assert (found.tick_ns, found.idle_tick_ns) == (0, 0)
        assert (found.host_tick_ns, found.background_exit_ns) == (0, 0)

    def test_costs_are_the_scenarios_own(self) -> None:
        scenario = scene(task("a"), host='costs.exit = "7us"', kernel='costs.spin = "9us"')
        assert config_of(scenario).costs.exit_ns == 7_000
        assert built(scenario).costs.spin_ns == 9_000

    def test_a_synchronous_medium_of_the_scenario_is_among_the_media(self) -> None:
        plain = config_of(scene(task("a")))
        assert plain.medium not in plain.media
        own = config_of(scene(task("a"), medium='{ latency = "5us", synchronous = true }'))
        assert own.media == {**plain.media, own.medium: 5_000}

    def test_rules_are_those_of_the_level(self) -> None:
        scenario = scene(task("a"), kernel='l0 = "5.8"\nl1 = "3.x"')
        assert config_of(scenario).switches == scenario.kernel.switches(0)
        assert built(scenario).switches == scenario.kernel.switches(1)

    def test_nested_is_for_vms_that_are(self) -> None:
        assert config_of(scene(task("a"))).nested is None
        scenario = scene(task("a"), vm=NESTED)
        assert config_of(scenario).nested is scenario.nested


class TestTasks:
    def test_instances_are_placed_in_turn_for_each_kind_of_task(self) -> None:
        kernel = built(scene(task("a", "count = 3"), task("b", "count = 2")))
        assert [(found.name, found.cpu) for found in kernel.tasks] == [
            ("a-0", 0), ("a-1", 1), ("a-2", 0), ("b-0", 0), ("b-1", 1),
        ]  # fmt: skip

    def test_a_pinned_task_is_where_it_says(self) -> None:
        (found,) = built(scene(task("a", "vcpu = 1", "weight = 99"))).tasks
        assert (found.cpu, found.pinned, found.weight) == (1, True, 99)

    def test_instances_of_a_kind_are_one_process(self) -> None:
        kernel = built(scene(task("a", "count = 2"), task("b")))
        assert [found.group for found in kernel.tasks] == ["task:a", "task:a", "task:b"]

    def test_kernel_sections_are_as_long_as_they_say(self) -> None:
        lines = ('kernel_every = "3us"', 'kernel_for = "1us"', "no_preempt = true")
        (found,) = built(scene(task("a", *lines))).tasks
        assert found.sections is not None
        assert (found.sections.every_ns, found.sections.for_ns) == (3_000, 1_000)
        assert found.sections.no_preempt

    def test_only_work_is_counted(self) -> None:
        kernel = built(scene(task("a"), task("w", pattern="work"), kernel='increment = "5ns"'))
        assert [found.work_step_ns for found in kernel.tasks] == [0, 5]


class TestNested:
    @pytest.fixture
    def kernel(self) -> GuestKernel:
        inner = (task("inner", "level = 2", "count = 3", "populated = true"), task("a"))
        return built(scene(*inner, task("deep", "level = 3", 'working_set = "4KiB"'), vm=NESTED))

    @staticmethod
    def inside(kernel: GuestKernel) -> InnerGuests:
        assert isinstance(kernel.inner, InnerGuests)
        return kernel.inner

    def test_the_vcpus_of_l2_are_tasks_of_l1(self, kernel: GuestKernel) -> None:
        assert [(found.name, found.cpu) for found in kernel.tasks if found.inner] == [
            ("l2-vcpu-0", 0), ("l2-vcpu-1", 1),
        ]  # fmt: skip

    def test_tasks_of_both_guests_run_on_the_vcpus_of_l2(self, kernel: GuestKernel) -> None:
        assert [[found.name for found in vcpu.tasks] for vcpu in self.inside(kernel).vcpus] == [
            ["inner-0", "inner-2", "deep-0"],
            ["inner-1"],
        ]

    def test_regions_inside_count_from_the_guests_own_page_0(self, kernel: GuestKernel) -> None:
        assert self.inside(kernel).memory.base == 8
        bases = {found.name: found.base_gfn for found in self.inside(kernel).inner_tasks()}
        assert (bases["inner-0"], bases["deep-0"]) == (0, 8)

    def test_populated_pages_are_in_l1s_table(self, kernel: GuestKernel) -> None:
        assert self.inside(kernel).memory.present == bytes([1] * 8 + [0] * 8)

    @pytest.mark.parametrize(("profile", "masks"), [("2.6.39", True), ("5.8", False)])
    def test_l0_sees_interrupts_masked_only_where_it_has_the_gap(
        self, profile: str, masks: bool
    ) -> None:
        scenario = scene(task("inner", "level = 2"), vm=NESTED, kernel=f'profile = "{profile}"')
        sides = self.inside(built(scenario)).nested
        assert [side.masks_interrupts() for side in sides] == [masks, masks]


class TestInterceptsOfAKvm:
    @pytest.mark.parametrize("code", [HLT, INTR, VMRUN])
    def test_what_it_always_wants(self, code: int) -> None:
        assert intercept(code, intercepts_of_kvm(npt=True), False) == "done"

    @pytest.mark.parametrize(("npt", "way"), [(True, "host"), (False, "done")])
    def test_page_faults_only_if_it_shadows(self, npt: bool, way: str) -> None:
        assert intercept(EXCP_PF, intercepts_of_kvm(npt), False) == way

    @pytest.mark.parametrize("write", [0, 1])
    def test_one_msr_and_not_another(self, write: int) -> None:
        found = intercepts_of_kvm(npt=True)
        assert intercept(MSR, found, False, write, MSR_INTERCEPTED) == "done"
        assert intercept(MSR, found, False, write, MSR_INTERCEPTED - 1) == "host"
        assert intercept(MSR, found, False, write, MSR_PASSED_THROUGH) == "host"

    @pytest.mark.parametrize("port", [0, 0x3F8, 0xFFFF])
    def test_every_port(self, port: int) -> None:
        assert intercept(IOIO, intercepts_of_kvm(npt=True), False, port << 16) == "done"


class TestControls:
    EVENTS = """
        [[event]]
        at = "5ms"
        do = "irq"
        vm = "vm-1"
        vcpu = 0
        [[event]]
        at = "2ms"
        do = "medium"
        medium = "zram"
        host = 1
        [[event]]
        at = "1ms"
        do = "migrate"
        vm = "vm-1"
        [[event]]
        at = "1ms"
        do = "migrate"
        vm = "vm-0"
    """

    def test_a_host_gets_its_own_in_order_of_time(self) -> None:
        scenario = scene(task("a"), self.EVENTS, vm="count = 2", host="count = 2")
        found = controls_of(scenario, 1, ["vm-1"])
        assert [(type(each), each.at_ns) for each in found] == [
            (ev.VmMigrated, 1_000_000),
            (ev.MediumChanged, 2_000_000),
            (ev.IrqArrived, 5_000_000),
        ]

    def test_the_lookahead_is_the_shortest_service_of_any_medium_it_will_have(self) -> None:
        scenario = scene(task("a"), self.EVENTS.replace("zram", "rdma"), vm="count = 2",
                         host="count = 2", limit="16MiB")  # fmt: skip
        lookaheads = [host_config(scenario, index, ()).lookahead_ns for index in (0, 1)]
        assert lookaheads == [20_000, 8_000]
