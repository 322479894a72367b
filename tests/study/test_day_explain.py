"""Explanations of a whole planned day."""

import numpy as np

from flexcore import MarketDay, cities
from flexcore.market.explain_codes import CODE
from flexcore.market.explanation import NEED, OFFER
from flexcore.market.pricing import local_prices, pay
from flexcore.study.day_explain import cleared_session, explain_day, explain_session
from tests.study.test_day import planned


def test_every_line_of_a_day_that_is_not_taken_in_full_has_a_reason():
    met = set()
    for seed in range(6):
        city = cities.tiny(seed=seed)
        plan = planned(city, MarketDay("2026-03-24"))
        told = explain_day(plan)
        met |= set(told.code.tolist())
        n_rows = 0
        names = [record.session.name for record in plan.records]
        for place, record in enumerate(plan.records):
            if record.session.skipped:
                assert record.session.name not in told.session
                continue
            part = explain_session(plan, record)
            n_rows += len(part)
            cleared = cleared_session(plan, record)
            offers = part.subject == OFFER
            market = offers & ~np.isin(
                part.code, [CODE[x] for x in ("held", "withdrawn", "not_validated", "recovery", "pods_taken")]
            )
            assert market.sum() == (cleared.accepted_w < cleared.book.quantity_w).sum()
            assert (part.offered_w[market] - part.accepted_w[market] == part.w[market]).all()
            assert not (part.code[market] == CODE["not_priced"]).any()
            held = offers & np.isin(part.code, (CODE["held"], CODE["withdrawn"]))
            for by in part.by[held]:  # the session that holds is the last one of the other operator
                assert names.index(by) < place
                assert by[:3] != record.session.name[:3]
            removed = record.restatement.removed_w[:, record.session.plan].sum()
            if record.clearing is not None:
                lost = offers & np.isin(part.code, [CODE[x] for x in ("held", "withdrawn", "not_validated")])
                assert part.w[lost].sum() == removed
                assert pay(cleared).total_ueur == record.clearing.total_cost_ueur
            else:
                assert local_prices(cleared).priced.all()
                assert abs(pay(cleared).total_ueur - record.selection.cost_ueur) <= cleared.accepted_w.size
                open_needs = part.subject == NEED
                missing = {
                    (str(i), int(t)): int(n - a)
                    for i, t, n, a in zip(
                        part.id[open_needs], part.step[open_needs], part.needed_w[open_needs],
                        part.accepted_w[open_needs], strict=True,
                    )
                }  # fmt: skip
                assert sum(missing.values()) == record.selection.unserved_w.sum()
        assert n_rows == len(told)
        sentences = told.sentences()
        assert len(sentences) == len(told)
        assert all(s.endswith(".") and "  " not in s and "None" not in s for s in sentences)
        assert told.to_arrow().num_rows == len(told)
    assert met >= {CODE[x] for x in ("perimeter_full", "held", "no_need", "dearer", "blocked", "marginal")}
