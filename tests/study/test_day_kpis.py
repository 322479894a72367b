"""The costs that market efficiency compares: the same rows, the same margins, the same served need."""

import numpy as np
import pytest

from flexcore import MarketDay, cities
from flexcore.study import day_kpis
from flexcore.units import UP
from tests.study.test_day import planned


@pytest.fixture(scope="module", params=[0, 1])
def compared(request):
    """A plan, what the common market was asked and what it answered, and the costs by their name."""
    city = cities.tiny(seed=request.param)
    plan = planned(city, MarketDay(city.default_day))
    calls = []

    def spy(grid, rows, **offers):
        answer = clear_local(grid, rows, **offers)
        calls.append((rows, offers["direction"], answer))
        return answer

    clear_local = day_kpis.clear_local
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_kpis, "clear_local", spy)
        rows = day_kpis._efficiency(city, plan, 1)
    (call,) = calls
    return city, plan, *call, {row.part: row.value for row in rows if row.key == "market_efficiency"}


def firm(plan, *, local):
    """Each session with its firm steps, and the same counted from the start of its plan."""
    for record in plan.records:
        if (record.selection is None) == local:
            window, start = record.session.firm, record.session.plan.start
            yield record, window, slice(window.start - start, window.stop - start)


def test_the_common_market_has_the_rows_of_the_sessions(compared):
    city, plan, rows, *_ = compared
    n = city.grid.n_nodes
    for record, window, inside in firm(plan, local=True):
        for name in ("lower_kw", "upper_kw", "w_lower", "w_upper"):
            np.testing.assert_array_equal(getattr(rows, name)[:n, window], getattr(record.needs.rows, name)[:, inside])


def test_the_common_market_moves_what_the_sessions_bought(compared):
    _, plan, _, direction, answer, _ = compared
    moved = (answer.accepted_w * np.where(direction == UP, 1, -1)[:, None]).sum(axis=0)
    assert moved.any()
    for record, window, _ in firm(plan, local=False):
        chosen = record.selection
        wanted = np.repeat(chosen.wanted_w, 4, axis=1)
        np.testing.assert_array_equal(moved[window], (chosen.need.local_w + wanted).sum(axis=0)[window])


def test_the_common_market_costs_least(compared):
    *_, euro = compared
    assert euro["common_eur"] <= euro["scheme_eur"]
    assert euro["common_eur"] <= euro["fragmented_eur"]
