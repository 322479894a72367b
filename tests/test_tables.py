"""The table registry: what it accepts, what it refuses, and that specifications are sound."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexcore.errors import ValidationError
from flexcore.tables import TABLES, check, to_arrow


def good_nodes():
    return {"id": [1, 2, 3], "v_nom_kv": [20.0, 20.0, 0.4], "slack": [True, False, False]}


def test_defaults_are_filled_and_order_is_that_of_the_specification():
    columns = check("nodes", good_nodes())
    assert list(columns) == [column.name for column in TABLES["nodes"].columns]
    assert columns["v_max_pu"].tolist() == [1.10] * 3
    assert columns["slack"].dtype == np.bool_


def test_arrow_in_and_out():
    columns = check("nodes", pa.table(good_nodes()))
    again = check("nodes", to_arrow("nodes", columns))
    for name, values in columns.items():
        assert (again[name] == values).all(), name
    assert to_arrow("nodes", columns).schema.field("v_nom_kv").metadata[b"unit"] == b"kV"


def test_all_problems_are_found_at_once():
    bad = {"id": [1, 1, 3], "v_nom_kv": [20.0, np.nan, 20.0], "colour": ["a", "b", "c"], "v_min_pu": [-1.0, 0.9, 0.9]}
    with pytest.raises(ValidationError) as refused:
        check("nodes", bad)
    assert set(refused.value.codes) == {"FX-A009", "FX-A003", "FX-A008", "FX-A007", "FX-A004"}


def test_ragged_columns_are_refused():
    with pytest.raises(ValidationError) as refused:
        check("nodes", {**good_nodes(), "g_us": [0.0]})
    assert refused.value.codes == ("FX-A001",)


OFFER = {"offer_id": [1], "element": [1], "direction": [0], "step": [0], "quantity_w": [1], "price_ueur_per_mwh": [1]}
PRODUCT = {"product_id": [1], "operator": [0], "service": ["a"]}


@pytest.mark.parametrize(
    ("table", "data", "code"),
    [
        ("nodes", {**good_nodes(), "slack": [1.0, 0.0, np.nan]}, "FX-A003"),
        ("nodes", {**good_nodes(), "slack": [1.0, 0.0, 0.5]}, "FX-A002"),
        ("nodes", {**good_nodes(), "slack": [1, 0, -1]}, "FX-A002"),
        ("products", {**PRODUCT, "up": [2]}, "FX-A002"),
        ("nodes", {**good_nodes(), "v_min_pu": [0.9, np.nan, 0.9]}, "FX-A003"),
        ("clearing_offers", {**OFFER, "step": np.array([2.0**63])}, "FX-A006"),
        ("clearing_offers", {**OFFER, "step": np.array([2**63], np.uint64)}, "FX-A006"),
        ("clearing_offers", {**OFFER, "direction": [128]}, "FX-A006"),
        ("clearing_offers", {**OFFER, "offer_id": np.array([2**63 + 5], np.uint64)}, "FX-A006"),
        ("clearing_offers", {**OFFER, "offer_id": [2**70]}, "FX-A006"),
        ("clearing_offers", None, "FX-A002"),
        ("clearing_offers", [1, 2], "FX-A002"),
        ("nodes", {**good_nodes(), "v_nom_kv": np.ones((3, 3))}, "FX-A001"),
        ("nodes", {**good_nodes(), "id": np.ones((3, 1), int)}, "FX-A001"),
        ("nodes", {**good_nodes(), "v_nom_kv": [[1.0], [1.0, 2.0], [1.0]]}, "FX-A001"),
    ],
)
def test_what_cannot_be_a_column_is_refused_by_code(table, data, code):
    with pytest.raises(ValidationError) as refused:
        check(table, data)
    assert refused.value.codes == (code,)


def test_zero_and_one_are_bools_and_the_largest_whole_numbers_pass():
    assert check("nodes", {**good_nodes(), "slack": [1.0, 0, 1]})["slack"].tolist() == [True, False, True]
    edge = np.array([2**63 - 1], np.uint64)
    assert check("clearing_offers", {**OFFER, "step": edge})["step"].tolist() == [2**63 - 1]
    assert check("clearing_offers", {**OFFER, "offer_id": edge})["offer_id"].tolist() == [2**63 - 1]
    below = np.nextafter(2.0**63, 0)
    assert check("clearing_offers", {**OFFER, "step": [below]})["step"].tolist() == [int(below)]


def test_nan_passes_where_it_is_the_default():
    lines = {"id": [1, 2], "from_id": [1, 2], "to_id": [2, 3], "r_ohm": [1.0] * 2, "x_ohm": [1.0] * 2}
    reverse = check("branches", {**lines, "s_max_reverse_kva": [3.0, np.nan]})["s_max_reverse_kva"]
    np.testing.assert_array_equal(reverse, [3.0, np.nan])


@pytest.mark.parametrize("spec", TABLES.values(), ids=list(TABLES))
def test_specifications_are_sound(spec):
    names = [column.name for column in spec.columns]
    assert len(names) == len(set(names))
    for column in spec.columns:
        assert column.meaning
        assert column.required or column.default is not None or column.kind in ("str", "key"), column.name


@given(st.integers(0, 5), st.data())
def test_any_table_built_from_its_specification_passes(n_rows, data):
    spec = data.draw(st.sampled_from(sorted(TABLES.values(), key=lambda s: s.name)))
    columns = {}
    for column in spec.columns:
        low = 0 if column.lo is None else int(np.ceil(column.lo))
        high = low + 100 if column.hi is None else int(column.hi)
        if column.unique or column.kind == "key":
            columns[column.name] = np.arange(n_rows, dtype=np.int64)
        elif column.kind == "str":
            columns[column.name] = [column.choices[0] if column.choices else "x"] * n_rows
        elif column.kind == "bool":
            columns[column.name] = data.draw(st.lists(st.booleans(), min_size=n_rows, max_size=n_rows))
        else:
            values = st.integers(low, max(low, min(high, 100)))
            columns[column.name] = data.draw(st.lists(values, min_size=n_rows, max_size=n_rows))
        if column.unique and column.kind == "str":
            columns[column.name] = [f"x{i}" for i in range(n_rows)]
    checked = check(spec.name, columns)
    assert all(len(values) == n_rows for values in checked.values())
