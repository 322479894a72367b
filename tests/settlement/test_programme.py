from fractions import Fraction

import numpy as np
import pytest

import tests.reference.settlement_programme as reference
from flexcore.errors import OptionError, SettlementError, ValidationError
from flexcore.metering import delivered_volume, net_by_aggregate
from flexcore.metering.delivery import MISSING_DELIVERED
from flexcore.settlement import NO_ORDER, delivery_ratio, imbalance, programme_correction, split_correction
from flexcore.settlement.terms import MAX_PRICE
from flexcore.units import DOWN, GLOBAL, LOCAL, UP, eur_per_mwh, largest_remainder


def random_rows(rng):
    n, n_steps = int(rng.integers(1, 12)), int(rng.choice([1, 4, 96]))
    size = int(rng.choice([3, 2000, 2**40]))
    accepted = rng.integers(0, size + 1, (n, n_steps)) * (rng.random((n, n_steps)) < 0.6)
    delivered = rng.integers(-size, size + 1, (n, n_steps))
    delivered[rng.random((n, n_steps)) < 0.05] = MISSING_DELIVERED
    return {
        "accepted_w": accepted, "delivered_w": delivered, "direction": rng.integers(0, 2, n),
        "unit": rng.integers(0, 3, n), "operator": rng.integers(0, 2, n),
    }  # fmt: skip


@pytest.mark.rule("SET-02")
@pytest.mark.parametrize("seed", range(150))
def test_corrections_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    book = random_rows(rng)
    threshold = int(rng.choice([0, 1, 500]))
    found = programme_correction(**book, threshold_w=threshold, missing="zero")
    rows = [
        {
            "operator": int(book["operator"][i]),
            "unit": int(book["unit"][i]),
            "direction": int(book["direction"][i]),
            "accepted": book["accepted_w"][i].tolist(),
            "delivered": [None if d == MISSING_DELIVERED else int(d) for d in book["delivered_w"][i]],
        }
        for i in range(len(book["unit"]))
    ]
    wanted = reference.corrections(rows, threshold)
    keys = list(zip(found.operator.tolist(), found.unit.tolist(), strict=True))
    assert keys == sorted(wanted)
    assert found.correction_w.tolist() == [wanted[key] for key in keys]
    gone = (book["delivered_w"] == MISSING_DELIVERED) & (book["accepted_w"] > 0)
    assert found.n_missing.sum() == gone.sum()
    order = rng.permutation(len(rows))
    turned = {name: values[order] for name, values in book.items()}
    again = programme_correction(**turned, threshold_w=threshold, missing="zero", n_threads=2)
    assert np.array_equal(found.correction_w, again.correction_w)
    if gone.any():
        with pytest.raises(SettlementError) as caught:
            programme_correction(**book)
        assert caught.value.findings[0].rows == tuple(np.flatnonzero(gone.any(axis=1)))


def test_less_withdrawal_lowers_the_programme_and_the_rest_is_imbalance():
    """10 MW planned, 2 MW up accepted: at 9 MW the programme is 9, at 7 MW it is 8, at 11 MW it stays at 10."""
    measured = np.array([[9, 8, 7, 11]]) * 1_000_000
    schedule = np.full((1, 4), 10_000_000)
    accepted = np.full((1, 4), 2_000_000)
    delivered = delivered_volume(schedule, measured, direction=UP)
    result = programme_correction(accepted, delivered, direction=UP, unit=0, operator=GLOBAL)
    assert (result.correction_w // 10**6).tolist() == [[-1, -2, -2, 0]]
    left = imbalance(measured, schedule, result.correction_w, price_ueur_per_mwh=[eur_per_mwh(100)] * 4)
    assert (left.imbalance_w // 10**6).tolist() == [[0, 0, -1, 1]]
    assert left.amount_ueur.tolist() == [[0, 0, -25_000_000, 25_000_000]]
    assert left.total_ueur.tolist() == [0]
    down = programme_correction(accepted, -delivered, direction=DOWN, unit=0, operator=LOCAL)
    assert (down.correction_w // 10**6).tolist() == [[0, 0, 0, 1]]
    quiet = programme_correction(
        accepted, delivered, direction=UP, unit=0, operator=GLOBAL, threshold_w=2_000_000
    ).correction_w
    assert not quiet.any()
    assert result.to_arrow().num_rows == left.to_arrow().num_rows == 4
    assert {str(f.type) for table in (result, left) for f in table.to_arrow().schema} <= {"int8", "int64"}


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("seed", range(60))
def test_splits_equal_the_reference_and_sum_exactly(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_steps, n_points = 3, int(rng.choice([1, 4, 24])), 10
    size = int(rng.choice([3, 5000, 2**40]))
    correction = rng.integers(-size, size + 1, (n_rows, n_steps)) * (rng.random((n_rows, n_steps)) < 0.7)
    row = np.r_[np.arange(n_rows), rng.integers(0, n_rows, n_points - n_rows)]
    if seed % 2:
        weight = np.zeros((n_points, n_steps), np.int64)
        for k in range(n_rows):
            for t in range(n_steps):
                weight[row == k, t] = largest_remainder(10**6, rng.integers(0, 5, (row == k).sum()) + 1)
        shares = split_correction(correction, row=row, factor_ppm=weight)
    else:
        weight = rng.integers(-size, size + 1, (n_points, n_steps))
        shares = split_correction(correction, row=row, delivered_w=weight, n_threads=2)
        # less withdrawal (a negative correction) goes to whom moved up
        weight = weight * -np.sign(correction)[row]
    for k in range(n_rows):
        mine = np.flatnonzero(row == k)
        assert shares[mine].tolist() == reference.by_weight(correction[k].tolist(), weight[mine].tolist())
        assert np.array_equal(shares[mine].sum(axis=0), correction[k])
    # points to balance responsible parties: nothing is lost
    parties, _ = net_by_aggregate(shares, rng.integers(0, 4, n_points), 4)
    assert np.array_equal(parties.sum(axis=0), correction.sum(axis=0))


def test_factors_must_sum_to_a_million_where_there_is_a_correction():
    correction = np.array([[5, 0], [7, 7]])
    row = [0, 0, 1, 1]
    factor = np.array([[500_000, 1], [500_000, 1], [1, 1], [999_999, 999_999]])
    assert split_correction(correction, row=row, factor_ppm=factor).tolist() == [[3, 0], [2, 0], [0, 0], [7, 7]]
    factor[3, 1] -= 1
    with pytest.raises(SettlementError) as caught:
        split_correction(correction, row=row, factor_ppm=factor)
    assert (caught.value.codes, caught.value.findings[0].rows) == (("FX-S010",), (1,))
    with pytest.raises(SettlementError, match="FX-S012"):
        split_correction(correction, row=[0, 0], factor_ppm=[500_000, 500_000])
    for arguments in ({}, {"factor_ppm": factor, "delivered_w": factor}):
        with pytest.raises(SettlementError, match="FX-S013"):
            split_correction(correction, row=row, **arguments)


def test_imbalance_is_exact_at_the_extremes_and_refused_beyond():
    top = 2**40
    measured, schedule = np.array([[top, -top]]), np.array([[-(top // 8), top // 8]])
    price = np.array([1_000_003, -7])
    left = imbalance(measured, schedule, 0 * measured, price_ueur_per_mwh=price)
    for t in range(2):
        gap = int(measured[0, t]) - int(schedule[0, t])
        assert left.amount_ueur[0, t] == round(Fraction(gap * int(price[t]), 4_000_000))
    assert left.total_ueur[0] == left.amount_ueur.sum()
    with pytest.raises(SettlementError, match="FX-S001"):
        imbalance([[top]], [[-top]], [[-top]], price_ueur_per_mwh=[1])
    with pytest.raises(SettlementError, match="FX-S001"):
        imbalance([[top] * 100], [[0] * 100], [[0] * 100], price_ueur_per_mwh=[MAX_PRICE] * 100)
    for wrong in ({"measured_w": [[top + 1]]}, {"schedule_w": [[1, 2]]}, {"price_ueur_per_mwh": [MAX_PRICE + 1]}):
        good = {"measured_w": [[1]], "schedule_w": [[1]], "correction_w": [[0]], "price_ueur_per_mwh": [5]}
        with pytest.raises(ValidationError):
            imbalance(**(good | wrong))


def test_wrong_programmes_are_refused():
    good = {"accepted_w": [[1]], "delivered_w": [[1]], "direction": 0, "unit": 0, "operator": 0}
    programme_correction(**good)
    for wrong in ({"accepted_w": [[-1]]}, {"delivered_w": [[1, 2]]}, {"operator": 2}, {"threshold_w": -1}):
        with pytest.raises(ValidationError):
            programme_correction(**(good | wrong))
    with pytest.raises(SettlementError, match="FX-S001"):
        programme_correction(**(good | {"delivered_w": [[2**40 + 1]]}))
    with pytest.raises(OptionError):
        programme_correction(**good, missing="guess")


def test_the_delivery_ratio_of_each_quarter_hour():
    ratio = delivery_ratio([[50, -20, 7, MISSING_DELIVERED, 1]], [[100, 10, 0, 5, 3]])
    assert ratio.tolist() == [[500_000, -2_000_000, NO_ORDER, NO_ORDER, 333_333]]
