"""From readings to money: nothing ordered is nothing paid, and a corrected reading reaches only what hangs on it."""

import dataclasses
import itertools

import numpy as np
import pytest

from flexcore import baseline, settle
from flexcore.metering import MISSING_W, PRESETS, delivered_volume
from flexcore.settlement import SettlementTerms, changed_lines, correct, finalise, open_run, statements
from flexcore.units import DOWN, UP

TERMS = SettlementTerms(
    price_ueur_per_mwh=123_456_789,
    penalty_ueur_per_mwh=98_765_432,
    factor_ppm=((0, 0), (950_000, 950_000), (950_000, 10**6)),
)
N_STEPS = 96


class Day:
    """PODs with readings of ten days and of the event day, and orders of both operators on two thirds of them."""

    def __init__(self, rng, n_pods=18, n_orders=30, preset="high_5_of_10"):
        self.rule = PRESETS[preset]
        self.history = rng.integers(-2000, 6000, (n_pods, 12, N_STEPS)).astype(np.int32)
        self.today = rng.integers(-2000, 6000, (n_pods, N_STEPS)).astype(np.int32)
        self.nominated = rng.integers(-2000, 6000, (n_pods, N_STEPS)).astype(np.int32)
        self.eligible = rng.random((n_pods, 12)) < 0.9
        self.pod = rng.integers(0, 2 * n_pods // 3, n_orders)
        self.operator, self.direction = rng.integers(0, 2, (2, n_orders))
        self.aggregate = self.pod % 4
        self.orders = np.zeros((n_orders, N_STEPS), np.int64)
        held = np.zeros((n_pods, N_STEPS), bool)
        for row in range(n_orders):
            start = rng.integers(0, N_STEPS - 8)
            span = np.arange(start, start + rng.integers(1, 9))
            span = span[~held[self.pod[row], span]]
            held[self.pod[row], span] = True
            self.orders[row, span] = rng.integers(1, 4000, span.size)
        self.event = held
        # what only some methods look at; the draws above and below stay as they are
        own = np.random.default_rng(7)
        self.inputs = {
            "nominated_w": self.nominated, "day_score": own.integers(0, 9, 12), "reference_w": self.nominated[:3],
            "reference_of": own.integers(0, 3, n_pods), "control_w": own.integers(0, 6000, (12, N_STEPS)),
            "temperature_c": own.uniform(0, 35, (12, N_STEPS)), "today_temperature_c": own.uniform(0, 35, N_STEPS),
        }  # fmt: skip

    def baseline(self):
        return baseline(self.history, self.today, self.event, eligible=self.eligible, preset=self.rule, **self.inputs)

    def settle(self):
        found = self.baseline()
        rows = {"direction": self.direction, "aggregate": self.aggregate, "operator": self.operator, "pod": self.pod}
        return settle(self.orders, np.asarray(found)[self.pod], self.today[self.pod], TERMS, **rows, missing="zero")

    def lines_of(self, pod, steps):
        """Keys of the lines in which this POD has an order in one of these steps."""
        return {
            (int(self.operator[row]), int(self.aggregate[row]), int(self.direction[row]), int(step) // 4)
            for row in np.flatnonzero(self.pod == pod)
            for step in steps
            if self.orders[row, step] > 0
        }

    def events_of(self, pod):
        """Lists of neighbouring event quarter-hours of a POD."""
        on = np.flatnonzero(self.event[pod])
        return np.split(on, np.flatnonzero(np.diff(on) > 1) + 1) if on.size else []

    def events_that_look_at(self, pod, step):
        """Events of a POD whose baseline rests on this quarter-hour of the event day."""
        looking = []
        for event in self.events_of(pod):
            first, last = int(event[0]), int(event[-1])
            if self.rule.method == "meter_before_after":
                end, begin = first - self.rule.before_gap, last + 1 + self.rule.after_gap
                sees = end - self.rule.before_steps <= step < end or begin <= step < begin + self.rule.after_steps
            else:
                end = first - self.rule.lead_steps
                sees = self.rule.adjustment != "none" and end - self.rule.window_steps <= step < end
            if sees and not self.event[pod, step]:
                looking.append(event)
        return looking

    def lines_that_hang_on_today(self, pod, step, gone):
        """What a reading of the event day may change: its own line, and those whose baseline looks at it."""
        looking = self.events_that_look_at(pod, step)
        if gone and looking and self.rule.method != "meter_before_after":
            # a window without this quarter-hour asks less of the reference days, which serve all events of the POD
            return self.lines_of(pod, range(N_STEPS))
        return self.lines_of(pod, [step, *(int(t) for event in looking for t in event)])


def line_table(result):
    names = [field.name for field in dataclasses.fields(result.lines)]
    rows = zip(*(getattr(result.lines, name).tolist() for name in names), strict=True)
    return {row[:4]: row for row in rows}


def pod_table(result):
    lines = list(line_table(result))
    names = [field.name for field in dataclasses.fields(result.pod_lines)][1:]
    rows = zip(*(getattr(result.pod_lines, name).tolist() for name in names), strict=True)
    table = {}
    for line, row in zip(result.pod_lines.line.tolist(), rows, strict=True):
        table.setdefault((lines[line], row[1]), []).append(row)
    return table


def changed_keys(before, after):
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_zero_event_is_zero_volume_and_zero_money(preset):
    day = Day(np.random.default_rng(1), preset=preset)
    day.event[:], day.orders[:] = False, 0
    found = day.baseline()
    result = day.settle()
    assert len(result.lines) == len(result.pod_lines) == 0
    for field in dataclasses.fields(result.totals)[1:]:
        assert getattr(result.totals, field.name).tolist() == [0, 0]
    for direction in (UP, DOWN):
        volume = delivered_volume(found, day.today, direction=direction)
        assert volume[day.event].size == 0
        if day.rule.method == "meter_before_after":
            # the baseline of a POD that was not called is its meter
            assert not volume.any()


@pytest.mark.rule("SET-01")
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_pods_without_event_have_no_volume_beside_pods_that_have(preset):
    day = Day(np.random.default_rng(2), preset=preset)
    idle = ~day.event.any(axis=1)
    assert 0 < idle.sum() < len(idle)
    result = day.settle()
    assert len(result.lines) > 20
    assert not idle[result.pod_lines.pod].any()


@pytest.mark.rule("SET-04")
@pytest.mark.parametrize(
    "preset",
    [
        "high_5_of_10",
        "mid_8_of_10",
        "caiso_10_in_10",
        "elexon_bl01",
        "rolling_10",
        "double_reference",
        "pjm_3_plus_2",
        "romeflex",
    ],
)
def test_a_corrected_reading_changes_only_the_lines_that_depend_on_it(preset):
    rng = np.random.default_rng(3)
    day = Day(rng, preset=preset)
    before = day.settle()
    lines, pods = line_table(before), pod_table(before)
    hits = dict.fromkeys(("reference day", "window", "ordered", "idle pod"), 0)
    needs_history = day.rule.method in ("high", "mid", "low", "all")
    for number in range(240):
        pod, step, past = int(rng.integers(18)), int(rng.integers(N_STEPS)), int(rng.integers(12))
        of_history = number % 2 == 0
        place = (day.history, (pod, past, step)) if of_history else (day.today, (pod, step))
        kept = int(place[0][place[1]])
        place[0][place[1]] = MISSING_W if rng.random() < 0.1 else kept + int(rng.choice([-3000, -1, 1, 3000]))
        after = day.settle()
        if of_history:
            usable = needs_history and day.eligible[pod, past]
            allowed = day.lines_of(pod, range(N_STEPS)) if usable else set()
        else:
            allowed = day.lines_that_hang_on_today(pod, step, int(place[0][place[1]]) == MISSING_W)
        changed = changed_keys(lines, line_table(after))
        assert changed <= allowed
        assert {line for line, _ in changed_keys(pods, pod_table(after))} <= allowed
        if not day.event[pod].any():
            assert after.digest == before.digest
            hits["idle pod"] += 1
        elif changed:
            kind = "reference day" if of_history else "ordered" if day.event[pod, step] else "window"
            hits[kind] += 1
        place[0][place[1]] = kept
    assert day.settle().digest == before.digest
    expected = {"ordered", "idle pod"} | ({"reference day"} if needs_history else set())
    if day.rule.adjustment != "none" or day.rule.method == "meter_before_after":
        expected.add("window")
    assert {kind for kind, count in hits.items() if count >= 3} == expected, hits


@pytest.mark.rule("SET-04")
def test_settling_again_gives_the_same_ids_digests_and_statements():
    owner = np.array([1, 0, 1, 2])
    runs = [finalise(open_run("2026-01-21", Day(np.random.default_rng(4)).settle())) for _ in range(2)]
    assert runs[0].run_id == runs[1].run_id
    assert runs[0].result.digest == runs[1].result.digest
    assert line_table(runs[0].result) == line_table(runs[1].result)
    assert pod_table(runs[0].result) == pod_table(runs[1].result)
    tables = [statements(run.result, bsp_of_aggregate=owner).to_arrow() for run in runs]
    assert tables[0].equals(tables[1])
    assert len(changed_lines(*runs)) == 0
    assert correct(runs[0], runs[1].result, "nothing changed") is runs[0]


@pytest.mark.rule("SET-04")
def test_a_chain_of_three_corrections_cites_back_to_the_first_run():
    rng = np.random.default_rng(5)
    day = Day(rng)
    chain = [finalise(open_run("2026-01-21", day.settle()))]
    untouched = line_table(chain[0].result)
    rows, steps = np.nonzero(day.orders)
    kept = day.today.copy()
    for number, place in enumerate(rng.choice(len(rows), 3, replace=False)):
        day.today[day.pod[rows[place]], steps[place]] += 2500
        preliminary = correct(chain[-1], day.settle(), f"re-issue {number}")
        assert correct(chain[-1], day.settle(), f"re-issue {number}").run_id == preliminary.run_id
        assert preliminary.status == "preliminary"
        chain.append(finalise(preliminary))
        assert chain[-1].run_id == preliminary.run_id
    assert [run.cites for run in chain] == [None, *(run.run_id for run in chain[:-1])]
    assert [run.reason for run in chain] == ["", "re-issue 0", "re-issue 1", "re-issue 2"]
    assert len({run.run_id for run in chain}) == len({run.result.digest for run in chain}) == 4
    assert line_table(chain[0].result) == untouched
    # step by step the changes lead from the first run to the last
    net = {key: row[-1] for key, row in untouched.items()}
    for one, two in itertools.pairwise(chain):
        changed = changed_lines(one, two)
        assert len(changed) > 0
        for *key, was, becomes in zip(
            *(getattr(changed, f.name).tolist() for f in dataclasses.fields(changed)), strict=True
        ):
            key = (key[0], key[1], key[2], key[3])
            assert net[key] == was != becomes
            net[key] = becomes
    assert net == {key: row[-1] for key, row in line_table(chain[-1].result).items()}
    # back to the first readings: the amounts of the first run, in a run of its own
    day.today[:] = kept
    last = correct(chain[-1], day.settle(), "withdrawn")
    assert last.result.digest == chain[0].result.digest
    assert last.run_id != chain[0].run_id
    with pytest.raises(dataclasses.FrozenInstanceError):
        chain[0].cites = last.run_id


@pytest.mark.rule("SET-04")
@pytest.mark.parametrize("seed", range(10))
def test_changed_lines_are_those_whose_net_differs(seed):
    one, two = Day(np.random.default_rng(seed)), Day(np.random.default_rng(seed))
    two.orders[3:6] = 0  # lines that vanish
    two.today[::2] += 400
    runs = [open_run("2026-01-21", day.settle()) for day in (one, two)]
    before, after = ({key: row[-1] for key, row in line_table(run.result).items()} for run in runs)
    expected = {
        key: (before.get(key, 0), after.get(key, 0))
        for key in before.keys() | after.keys()
        if before.get(key, 0) != after.get(key, 0)
    }
    changed = changed_lines(*runs)
    columns = [getattr(changed, name).tolist() for name in ("operator", "aggregate", "direction", "unit")]
    keys = list(zip(*columns, strict=True))
    assert keys == sorted(expected)
    amounts = zip(changed.before_ueur.tolist(), changed.after_ueur.tolist(), strict=True)
    assert dict(zip(keys, amounts, strict=True)) == expected
    assert before.keys() - after.keys()
