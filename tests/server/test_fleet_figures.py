"""Figures of groups, and that nothing about too few devices can be read from them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fleet.reports.figures import EITHER, Figures, fleet_figures
from server.fleet.reports.rows import By, StoredReport
from server.fleet.reports.table import report_csv, report_json
from tests.server.fleet_store import NOW_S, failed, good
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.statistics import Mean

MINIMUM = 3
CLASSES = ("pi_4", "pi_zero_2w", "phone")
BY_CLASS = (By.CLASS,)


def stored(report: PersonalisationReport, release: int = 1, day: int = 0, node: str = "") -> StoredReport:
    return StoredReport(
        node or f"node of {report.device}", report.device, release, "spring", NOW_S + 86_400 * day, report
    )


def withheld(device: int, profile: str, before: float | None = None, after: float = 0.0) -> PersonalisationReport:
    """With noise in its accuracies, or without any."""
    plain = good(device, profile)
    told = {"device": device, "profile": plain.profile, "outcome": int(Outcome.WITHHELD)}
    noisy = {} if before is None else {"accuracy_before": before, "accuracy_after": after, "holdout_images": 1}
    return PersonalisationReport.model_validate(told | noisy)


def of_class(reports: Sequence[StoredReport], name: str, minimum: int = MINIMUM) -> Figures:
    found = dict(fleet_figures(reports, BY_CLASS, minimum).shown)
    return found[(name,)]


def test_of_each_device_the_last_report_counts() -> None:
    reports = [stored(good(n, before=0.5, after=0.6)) for n in (1, 2, 3)]
    reports += [stored(good(1, before=0.5, after=0.9)), stored(failed(2))]
    figures = of_class(reports, "pi_4", 2)
    assert (figures.devices, figures.reports) == (3, 5)
    assert figures.outcomes == {EITHER: 2, "failed": 1}
    assert figures.errors == {"no images": 1}
    assert figures.failed_share == pytest.approx(1 / 3)
    gain = figures.quantities["gain"]
    assert gain is not None
    expected = Mean.of([0.4, 0.1])
    assert (gain.mean, gain.interval, gain.devices) == (pytest.approx(0.25), pytest.approx(expected.interval), 2)


def test_every_quantity_by_hand() -> None:
    reports = [stored(good(n, before=0.5, after=0.35 + n / 20, wall_s=float(n))) for n in range(11)]
    reports.append(stored(good(20, before=0.3, after=0.3, outcome=int(Outcome.CANNOT_AFFORD), live_memory_bytes=4_000)))
    of = of_class(reports, "pi_4").quantities
    worse, gain, seconds, budget = of["worse"], of["gain"], of["wall_s"], of["memory_budget_share"]
    assert worse is not None
    assert gain is not None
    assert seconds is not None
    assert budget is not None
    assert worse.mean == pytest.approx(3 / 12)
    assert gain.quantiles == pytest.approx((-0.095, 0.075, 0.295))
    assert (seconds.devices, seconds.mean) == (11, pytest.approx(59 / 11))  # the one that took no time was not timed
    assert (budget.mean, budget.devices) == (0.5, 11)
    measured = of["measured_memory_share"]
    assert measured is not None
    assert (measured.mean, measured.devices) == (pytest.approx(0.98), 11)


def test_quantiles_need_ten_devices() -> None:
    def quantiles(count: int) -> tuple[float, ...] | None:
        gain = of_class([stored(good(n)) for n in range(1, count + 1)], "pi_4").quantities["gain"]
        assert gain is not None
        return gain.quantiles

    assert quantiles(9) is None
    assert quantiles(10) == (0.25, 0.25, 0.25)


def test_a_cohort_is_counted_in_nodes() -> None:
    """The nine devices of two gateways are two owners', however many they are."""
    gateways = [stored(good(n), node=f"gateway {n % 2}") for n in range(1, 10)]
    assert fleet_figures(gateways, BY_CLASS, MINIMUM).hidden == [("pi_4",)]
    figures = of_class([*gateways, stored(failed(10))], "pi_4")
    assert (figures.devices, figures.nodes, figures.failed_share) == (10, 3, 0.1)
    assert figures.quantities["gain"] is None  # the third node has none


@pytest.mark.parametrize(("kept", "apart"), [(0, False), (2, False), (3, True), (5, True), (6, False), (8, False)])
def test_what_images_decided_is_told_of_enough_nodes_or_of_none(kept: int, apart: bool) -> None:
    reports = [stored(good(n, after=0.4 if n < kept else 0.6)) for n in range(8)]
    reports += [stored(failed(n)) for n in (10, 11)]  # too few to be told of, and yet operators need it
    figures = of_class(reports, "pi_4")
    assert figures.errors == {"no images": 2}
    expected = {"adapted": 8 - kept, "kept base": kept} if apart else {EITHER: 8}
    assert figures.outcomes == expected | {"failed": 2}
    assert (figures.quantities["worse"] is not None) == apart


def test_kept_base_on_one_gateway_is_not_told() -> None:
    reports = [stored(good(n, after=0.4), node="gateway") for n in range(1, 6)]
    figures = of_class([*reports, *(stored(good(n)) for n in range(11, 15))], "pi_4")
    assert figures.outcomes == {EITHER: 9}


def test_the_total_tells_no_more_apart_than_its_groups() -> None:
    mixed = [stored(good(n, after=0.4 if n < 3 else 0.6)) for n in range(6)]
    one_worse = [stored(good(n, "phone", after=0.4 if n == 10 else 0.6)) for n in range(10, 16)]
    total = fleet_figures(mixed + one_worse, BY_CLASS, MINIMUM).total
    assert total is not None
    assert total.outcomes == {"adapted": 3, "kept base": 3, EITHER: 6}
    assert total.quantities["worse"] == of_class(mixed, "pi_4").quantities["worse"]


def test_groups_by_release_and_day() -> None:
    reports = [stored(good(n), release, day) for n in (1, 2, 3) for release in (1, 2) for day in (0, 1)]
    figures = fleet_figures(reports, (By.RELEASE, By.DAY), MINIMUM)
    days = ("2024-10-04", "2024-10-05")
    assert [key for key, _ in figures.shown] == [(release, day) for release in (1, 2) for day in days]
    assert figures.total is None  # the same devices four times


def test_a_small_group_is_there_and_no_more() -> None:
    reports = [stored(good(n)) for n in (1, 2, 3)] + [stored(good(n, "phone")) for n in (4, 5)]
    found = report_json(fleet_figures(reports, BY_CLASS, MINIMUM))
    assert found["groups"][0] == {"class": "phone", "devices": "of fewer than 3 nodes"}
    assert found["groups"][1]["devices"] == 3
    assert found["total"] is None  # of one group alone it would be that group
    assert (
        report_csv(fleet_figures(reports, BY_CLASS, MINIMUM))
        .splitlines()[1]
        .startswith("phone,of fewer than 3 nodes,,,")
    )


def test_a_figure_of_too_few_in_a_large_group_is_not_in_the_total_either() -> None:
    """Two phones of five have an accuracy: subtracting the other class from the total must not give it."""
    phones = [stored(good(n, "phone", 0.1, 0.2)) for n in (1, 2)] + [stored(failed(n, "phone")) for n in (3, 4, 5)]
    others = [stored(good(n, before=0.5, after=0.75)) for n in (11, 12, 13)]
    figures = fleet_figures(phones + others, BY_CLASS, MINIMUM)
    of = dict(figures.shown)
    assert of[("phone",)].quantities["gain"] is None
    assert figures.total is not None
    assert figures.total.devices == 8
    assert figures.total.quantities["gain"] == of[("pi_4",)].quantities["gain"]


def test_accuracies_with_noise_are_apart() -> None:
    reports = [stored(good(n, before=0.5, after=0.6)) for n in range(1, 11)]
    reports += [stored(withheld(n, "pi_4", 0.5, 2.5 - n)) for n in range(11, 22)] + [stored(withheld(30, "pi_4"))]
    figures = of_class(reports, "pi_4")
    gain, noisy = (figures.quantities[what] for what in ("gain", "noisy_gain"))
    assert gain is not None
    assert noisy is not None
    assert (gain.mean, gain.devices, gain.quantiles) == (pytest.approx(0.1), 10, pytest.approx((0.1, 0.1, 0.1)))
    assert (noisy.mean, noisy.devices, noisy.quantiles) == (pytest.approx(2 - 16), 11, None)
    assert noisy.interval == pytest.approx(Mean.of([float(n) for n in range(11)]).interval)
    assert figures.outcomes == {EITHER: 10, "withheld": 12}


def test_devices_that_tell_no_accuracy_have_none() -> None:
    figures = of_class([stored(withheld(n, "pi_4")) for n in (1, 2, 3)], "pi_4")
    assert figures.outcomes == {"withheld": 3}
    assert set(figures.quantities.values()) == {None}


@st.composite
def anything(draw: st.DrawFn, device: int, name: str) -> PersonalisationReport:
    """A report of that device: whatever its images, its training and its luck made of it."""
    kind = draw(st.sampled_from(["good", "failed", "noisy", "spent"]))
    before, after = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    if kind == "failed":
        return failed(device, name, draw(st.sampled_from([ErrorCode.STORAGE, ErrorCode.NO_IMAGES])))
    if kind == "noisy":
        return withheld(device, name, before - 3, after + 2)
    if kind == "spent":
        return withheld(device, name)
    sizes = {"wall_s": draw(st.floats(0, 90)), "live_memory_bytes": draw(st.integers(0, 2_000))}
    return good(device, name, before, after, **sizes)  # type: ignore[no-any-return]


Place = tuple[int, str, int, int]  # device, class, release, day
mixed = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(CLASSES), st.integers(1, 2), st.integers(0, 1)),
    min_size=1,
    max_size=24,
)
apart = st.tuples(st.integers(3, 5), st.integers(3, 5), st.integers(1, 3)).map(  # two large classes, a small one
    lambda sizes: [
        (10 * n + k, name, 1, 0)
        for n, (name, size) in enumerate(zip(CLASSES, sizes, strict=True))
        for k in range(1, 1 + size)
    ]
)
places = st.one_of(mixed, apart)
groupings = st.sampled_from([(By.CLASS,), (By.RELEASE, By.CLASS), (By.DAY,), (By.ROLLOUT, By.DAY), (By.RELEASE,)])


@given(places, groupings, st.data())
def test_no_number_depends_on_the_figures_of_a_hidden_group(
    where: list[Place], by: tuple[By, ...], data: st.DataObject
) -> None:
    def fill(place: Place) -> StoredReport:
        device, name, release, day = place
        return stored(data.draw(anything(device, name)), release, day)

    reports = [fill(place) for place in where]
    figures = fleet_figures(reports, by, MINIMUM)
    hidden = set(figures.hidden)

    def key(one: StoredReport) -> tuple[int | str, ...]:
        return tuple(
            {By.CLASS: one.device_class, By.RELEASE: one.release, By.DAY: one.day, By.ROLLOUT: one.rollout}[what]
            for what in by
        )

    others = [
        fill(place) if key(one) in hidden else one for place, one in zip(where, reports, strict=True)
    ]  # the same devices, groups and times, with other figures
    assert report_json(fleet_figures(others, by, MINIMUM)) == report_json(figures)


@given(places, groupings, st.data())
def test_every_number_is_of_enough_devices(where: list[Place], by: tuple[By, ...], data: st.DataObject) -> None:
    reports = [stored(data.draw(anything(d, name)), release, day) for d, name, release, day in where]
    figures = fleet_figures(reports, by, MINIMUM)
    shown = [found for _, found in figures.shown] + ([figures.total] if figures.total else [])
    for found in shown:
        assert found.devices >= MINIMUM
        assert sum(found.outcomes.values()) == found.devices <= found.reports
        assert all(quantity is None or quantity.devices >= MINIMUM for quantity in found.quantities.values())
    if figures.total is not None:
        assert figures.total.devices == sum(found.devices for _, found in figures.shown)
        assert figures.total.devices <= len({device for device, *_ in where})
