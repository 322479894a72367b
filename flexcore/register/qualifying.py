"""From aggregates to markets: requests, technical tests, equivalences, expiry."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, RegisterError
from flexcore.register import prequalification as pq
from flexcore.register.ids import look_up, positions, shown
from flexcore.register.pods import (
    Int64s,
)
from flexcore.register.products import Qualifications, new_qualifications
from flexcore.register.states import (
    AGGREGATE,
    AGGREGATE_PRODUCT,
    apply_events,
    approval_times,
)
from flexcore.tables import check
from flexcore.units import DOWN, UP

if TYPE_CHECKING:
    pass

from flexcore.register.holdings import Holdings


class Qualifying(Holdings):
    """Qualifies aggregates for products."""

    def request_products(self, data: Any, *, partial: bool = False) -> npt.NDArray[np.bool_]:
        """Ask for the qualification of aggregates for products (table `qualification_requests`).

        A request for what is REQUESTED already, first or again, replaces the power to be qualified.

        Parameters
        ----------
        data : table
            Power -1 asks for all that is enrolled, rounded down to the product's granularity, in the directions it
            covers.
        partial : bool
            False: one refused row refuses all. True: refused rows are left out (unknown keys still refuse all).

        Returns
        -------
        ndarray of bool, shape (n_rows,)
            Rows that were accepted.

        Raises
        ------
        RegisterError
            FX-R005 unknown key, FX-R018 product of the other operator, FX-R019 asked twice, or tested or
            admitted already, FX-R020 power above the
            enrolled one, below the product's minimum or off its granularity, FX-R021 outside the product's perimeter,
            FX-R022 terminated.
        """
        table = check("qualification_requests", data, error=RegisterError)
        n = table["up_w"].size
        found = Findings("qualification_requests", n)
        aggregate = look_up(self.aggregates.agg_id, table["agg_id"], found, "agg_id", "aggregate")
        product = look_up(self.products.product_id, table["product_id"], found, "product_id", "product")
        found.raise_errors(RegisterError)
        goods = self.products
        powers, misfit = [], np.zeros(n, bool)
        for wanted, most in zip((table["up_w"], table["down_w"]), self._most_w(aggregate, product), strict=True):
            power = np.where(wanted < 0, most, wanted)
            misfit |= (power > most) | (power % goods.granularity_w[product] != 0)
            misfit |= (power > 0) & (power < goods.min_w[product])
            powers.append(power)
        up_w, down_w = powers
        misfit |= (up_w == 0) & (down_w == 0)
        quals = self.qualifications
        pair = aggregate.astype(np.int64) * max(goods.operator.size, 1) + product
        held = positions(quals.aggregate.astype(np.int64) * max(goods.operator.size, 1) + quals.product, pair)
        decided = held >= 0
        decided[decided] = quals.state[held[decided]] != AGGREGATE_PRODUCT.state("REQUESTED")
        _, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
        area = goods.flex_area[product]
        problems = (
            (
                "FX-R018",
                "the product belongs to the other operator",
                goods.operator[product] != self.aggregates.operator[aggregate],
            ),
            ("FX-R019", "the product is asked for twice", (counts[inverse] > 1) | decided),
            ("FX-R020", "the power does not fit the aggregate or the product", misfit),
            (
                "FX-R021",
                "the aggregate lies outside the perimeter",
                (area >= 0) & (area != self.aggregates.flex_area[aggregate]),
            ),
            (
                "FX-R022",
                "the aggregate is terminated",
                self.aggregates.state[aggregate] == AGGREGATE.state("TERMINATED"),
            ),
        )
        good = np.ones(n, bool)
        for code, message, bad in problems:
            good &= ~bad
            rows = np.flatnonzero(bad)
            if rows.size and not partial:
                products = shown(np.unique(table["product_id"][rows]))
                text = f"{message} in {rows.size} rows (products {products})"
                found.add(code, text, field="agg_id", rows=rows, ids=table["agg_id"][rows])
        found.raise_errors(RegisterError)
        again, first = good & (held >= 0), good & (held < 0)
        up, down = quals.up_w.copy(), quals.down_w.copy()
        up[held[again]], down[held[again]] = up_w[again], down_w[again]
        self.qualifications = replace(quals, up_w=up, down_w=down)
        new = new_qualifications(aggregate[first], product[first], up_w[first], down_w[first])
        names = Qualifications.__dataclass_fields__
        self.qualifications = self.qualifications.adding(**{name: getattr(new, name) for name in names})
        return good

    def run_tests(
        self,
        tests: Any,
        required_w: npt.ArrayLike,
        baseline_w: npt.ArrayLike,
        metered_w: npt.ArrayLike,
        *,
        at: int,
        n_threads: int = 1,
    ) -> pq.TechnicalResult:
        """Run technical tests and decide the qualifications that they belong to (PRQ-02).

        Parameters
        ----------
        tests : table
            `technical_tests`, one row per test: (aggregate, product, direction). A qualification passes if all its
            tests do, and each direction in which it has power is among them.
        required_w, baseline_w, metered_w : array_like of int64, shape (n_tests, n_steps)
            Series of the whole aggregate (`aggregate_sums_w` makes them from PODs), see
            `prequalification.technical_test`. [W]
        at : int
            Time of the decision; the qualification expires `validity_days` later. [unix s]

        Returns
        -------
        TechnicalResult
            One row per test. Failures include a member that is slower than the product's notice, a test that never
            asks for the power to be qualified, and, in all tests of a qualification, a direction that has none.

        Raises
        ------
        RegisterError
            FX-R005 no such request.
        StateError
            FX-R016 the qualification is not open to a test.
        """
        table = check("technical_tests", tests, error=RegisterError)
        now = self._time(at)
        rows = self.qualification_rows(table["agg_id"], table["product_id"])
        quals, goods = self.qualifications, self.products
        product = quals.product[rows]
        result = pq.technical_test(
            table["direction"],
            required_w,
            baseline_w,
            metered_w,
            min_pm=goods.test_min_pm[product],
            step_pm=goods.test_step_pm[product],
            ramp_pm=goods.test_ramp_pm[product],
            n_threads=n_threads,
        )
        failed = result.failed.copy()
        failed[self._slowest_member()[quals.aggregate[rows]] > goods.notice_s[product]] |= pq.NOTICE
        asked = np.asarray(required_w, np.int64).max(axis=1, initial=0)
        wanted = np.where(table["direction"] == UP, quals.up_w[rows], quals.down_w[rows])
        failed[asked < wanted] |= pq.POWER
        for direction, power in ((UP, quals.up_w), (DOWN, quals.down_w)):
            untested = (power > 0) & ~np.isin(np.arange(power.size), rows[table["direction"] == direction])
            failed[untested[rows]] |= pq.UNTESTED
        result = replace(result, failed=failed)
        n = quals.state.size
        tested = np.unique(rows)
        causes = np.zeros(n, np.uint8)
        np.bitwise_or.at(causes, rows, failed)
        ratio = quals.ratio.copy()
        ratio[tested] = np.inf
        np.minimum.at(ratio, rows, np.where(np.isnan(result.ratio), 0.0, result.ratio))
        event = np.full(n, 255, np.uint8)
        event[tested] = AGGREGATE_PRODUCT.event("test")
        event[tested[quals.state[tested] == AGGREGATE_PRODUCT.state("TESTING")]] = 255
        testing = apply_events(AGGREGATE_PRODUCT, quals.state, event, ids=self._qualification_names())
        event[tested] = np.where(causes[tested] == 0, AGGREGATE_PRODUCT.event("pass"), AGGREGATE_PRODUCT.event("fail"))
        decided = apply_events(AGGREGATE_PRODUCT, testing.state, event, ids=self._qualification_names())
        approved = approval_times(AGGREGATE_PRODUCT, quals.approved_at, decided, now)
        n_tests = np.bincount(rows, minlength=n).astype(np.int32)
        was_tested = n_tests > 0
        self.qualifications = replace(
            quals,
            state=decided.state,
            approved_at=approved,
            expires_at=self._expiry(approved, quals.expires_at, decided.applied),
            failed=np.where(was_tested, causes, quals.failed),
            ratio=ratio,
            n_tests=quals.n_tests + n_tests,
            n_tests_last=np.where(was_tested, n_tests, quals.n_tests_last),
        )
        return result

    def apply_equivalences(self, *, at: int, inclusion: bool = False) -> pq.Equivalences:
        """Qualify open requests by the Table of Equivalences (PRQ-03); the result says what each was derived from.

        A derived qualification ends when the test that it was derived from expires, or its own product's validity does.
        """
        now = self._time(at)
        quals = self.qualifications
        table = pq.table_of_equivalences(
            quals, self.products, self.configurations(), self._qualification_rank(), at=now, inclusion=inclusion
        )
        granted = table.derived_from >= 0
        event = np.where(granted, AGGREGATE_PRODUCT.event("toe"), 255).astype(np.uint8)
        moved = apply_events(AGGREGATE_PRODUCT, quals.state, event, ids=self._qualification_names())
        approved = approval_times(AGGREGATE_PRODUCT, quals.approved_at, moved, now)
        expires = self._expiry(approved, quals.expires_at, moved.applied)
        source = np.where(granted, table.derived_from, 0)
        if source.size:
            expires = np.where(granted, np.minimum(expires, quals.expires_at[source]), expires)
        saved = np.where(granted, quals.n_tests_last[source], 0) if source.size else np.zeros(0, np.int32)
        self.qualifications = replace(
            quals,
            state=moved.state,
            approved_at=approved,
            expires_at=expires,
            derived_from=np.where(granted, table.derived_from, quals.derived_from).astype(np.int32),
            toe_reason=np.where(table.reason > 0, table.reason, quals.toe_reason).astype(np.uint8),
            n_tests_saved=(quals.n_tests_saved + saved).astype(np.int32),
        )
        return table

    def expire(self, at: int) -> npt.NDArray[np.intp]:
        """Reopen the qualifications that have run out (PRQ-04); return their positions."""
        now = self._time(at)
        quals = self.qualifications
        over = (quals.approved_at >= 0) & (quals.expires_at <= now)
        self._move_qualifications(over & AGGREGATE_PRODUCT.takes(quals.state, "expire"), "expire")
        return np.flatnonzero(over)

    @property
    def test_counts(self) -> tuple[int, int]:
        """Technical tests with and without the Table of Equivalences: those run, and those run plus those saved."""
        done = int(self.qualifications.n_tests.sum())
        return done, done + int(self.qualifications.n_tests_saved.sum())

    def _slowest_member(self) -> Int64s:
        slowest = np.zeros(self.aggregates.agg_id.size, np.int64)
        for owner in self.units.aggregate:
            inside = owner >= 0
            np.maximum.at(slowest, owner[inside], self.units.activation_s[inside])
        return slowest

    def _qualification_rank(self) -> npt.NDArray[np.int64]:
        quals = self.qualifications
        rank = np.empty(quals.state.size, np.int64)
        keys = (self.products.product_id[quals.product], self.aggregates.agg_id[quals.aggregate])
        rank[np.lexsort(keys)] = np.arange(quals.state.size)
        return rank
