"""Where the memory of each task lies inside its VM."""

from __future__ import annotations

from pagewake.participants.regions import Layout, lay_out
from tests.unit.participants.scenes import NESTED, scene, task


def laid_out(*tasks: str, vm: str = "") -> Layout:
    return lay_out(scene(*tasks, vm=vm).vms[0])


def test_regions_follow_one_another_in_file_order() -> None:
    regions = laid_out(task("a"), task("b", 'working_set = "8KiB"'), task("c")).regions
    assert [(region.base, region.pages) for region in regions.values()] == [(0, 8), (8, 2), (10, 8)]


def test_instances_share_a_region_unless_it_is_private() -> None:
    regions = laid_out(task("a", "count = 2"), task("b", "count = 2", "private = true")).regions
    assert [regions[0, 0].base, regions[0, 1].base] == [0, 0]
    assert [regions[1, 0].base, regions[1, 1].base] == [8, 16]
    assert [regions[1, 0].name, regions[1, 1].name] == ["b-0", "b-1"]


def test_a_shared_region_is_populated_once() -> None:
    layout = laid_out(task("a", "count = 3", "populated = true"), task("b"))
    assert [(region.name, region.base) for region in layout.populated()] == [("a", 0)]


def test_a_task_without_memory_takes_none() -> None:
    layout = laid_out(task("w", pattern="work"), task("a"))
    assert (layout.regions[0, 0].pages, layout.regions[1, 0].base) == (0, 0)


def test_the_pages_of_a_script_reach_to_the_last_one_it_touches() -> None:
    layout = laid_out(task("s", 'script = ["touch 4", "touch 1"]', pattern="script"), task("a"))
    assert (layout.regions[0, 0].pages, layout.regions[1, 0].base) == (5, 5)


def test_each_guest_lies_behind_the_tasks_around_it() -> None:
    deep = task("deep", "level = 3", 'working_set = "8KiB"')
    inner = task("inner", "level = 2")
    layout = laid_out(deep, task("outer"), inner, vm=NESTED)
    assert [tuple(each) for each in layout.inner] == [(2, 8, 16), (3, 16, 4)]
    assert [layout.regions[index, 0].base for index in range(3)] == [16, 0, 8]
