import numpy as np
import pyarrow as pa
import pytest

from flexcore.errors import RegisterError, UnknownIdError, ValidationError
from flexcore.register.register import Register
from tests.register.conftest import Nodes, assert_same, pod_codes, pods_table, registered, snapshot, units_table


@pytest.mark.rule("REG-01")
def test_one_registration_serves_both_operators():
    register = registered()
    assert register.units.unit_id.tolist() == register.pods.pod_code.tolist()  # one unit per POD
    assert register.units.aggregate.shape == (2, 12)
    assert register.pod_node.tolist() == [0, 1, 2, 3] * 3
    assert (register.units.state == 1).all()
    assert (register.units.light_approved_at == -1).all()


def test_codes_are_normalised():
    register = Register()
    codes = ["it002e0000 0001", "IT_002_E_00000002", " it002E00000003a"]
    register.register_pods(pods_table(3, pod_code=codes))
    assert register.pods.pod_code.tolist() == ["IT002E00000001", "IT002E00000002", "IT002E00000003A"]
    assert register.pod_rows(["it 002 e 00000002"]).tolist() == [1]


def test_duplicates_name_both_rows():
    register = Register()
    codes = pod_codes(5)
    codes[3] = "it002e00000001"
    with pytest.raises(RegisterError) as refused:
        register.register_pods(pods_table(5, pod_code=codes))
    finding = refused.value.findings[0]
    assert finding.code == "FX-R002"
    assert set(finding.rows) == {1, 3}
    assert finding.ids == ("IT002E00000001",) * 2
    assert register.pods.pod_code.size == 0


def test_pattern_is_configurable():
    with pytest.raises(RegisterError, match="FX-R001"):
        Register().register_pods(pods_table(2, pod_code=["IT002E0000000", "FR002E00000001"]))
    register = Register(pod_pattern=r"^ES\d{18}$")
    register.register_pods(pods_table(1, pod_code=["ES000000000000000001"]))
    assert register.pods.pod_code.size == 1
    with pytest.raises(RegisterError, match="FX-R023"):
        Register(pod_pattern="(").register_pods(pods_table(1))


def test_grid_may_come_later():
    register = registered(grid=False)
    assert (register.pod_node == -1).all()
    with pytest.raises(RegisterError, match="FX-R024"):
        register.node_sums_w(np.zeros((12, 2), np.int64))
    before = snapshot(register)
    with pytest.raises(RegisterError, match="FX-R003"):
        register.connect(Nodes(["n0", "n1", "n2"]))
    assert_same(before, snapshot(register))
    register.connect(Nodes(["n3", "n2", "n1", "n0"]))
    assert register.pod_node.tolist() == [3, 2, 1, 0] * 3


BAD_PODS = {
    "FX-R001": {"pod_code": ["X", *pod_codes(20)[13:]]},
    "FX-R003": {"pod_code": pod_codes(20)[12:], "node_id": np.full(8, "nowhere")},
    "FX-R004": {"pod_code": pod_codes(8)},
    "FX-R008": {"pod_code": pod_codes(20)[12:], "node_id": np.arange(8)},
    "FX-A004": {"pod_code": pod_codes(20)[12:], "contracted_in_w": np.full(8, -1)},
    "FX-A011": {"pod_code": pod_codes(20)[12:], "voltage_level": np.full(8, "XL")},
    "FX-A008": {"colour": np.full(8, "red")},
}


@pytest.mark.parametrize("code", BAD_PODS)
def test_refused_pods_change_nothing(code):
    register = registered()
    before = snapshot(register)
    with pytest.raises(RegisterError) as refused:
        register.register_pods(pods_table(8, **BAD_PODS[code]))
    assert code in refused.value.codes
    assert_same(before, snapshot(register))


BAD_UNITS = {
    "FX-R004": {},
    "FX-R005": {"pod_code": pod_codes(24)[12:]},
    "FX-R006": {"unit_id": np.arange(12).astype(str), "bsp": np.full(12, "DSO")},
    "FX-R007": {"pod_code": np.repeat(pod_codes(6), 2)},
    "FX-R008": {"unit_id": np.arange(12)},
    "FX-R009": {"unit_id": np.arange(12).astype(str), "up_w": np.zeros(12, int), "down_w": np.zeros(12, int)},
    "FX-A004": {"up_w": np.full(12, -5)},
    "FX-A002": {"down_w": np.full(12, 0.5)},
}


@pytest.mark.parametrize("code", BAD_UNITS)
def test_refused_units_change_nothing(code):
    register = registered()
    before = snapshot(register)
    with pytest.raises(RegisterError) as refused:
        register.register_units(units_table(**BAD_UNITS[code]))
    assert code in refused.value.codes
    assert_same(before, snapshot(register))


def test_all_problems_come_at_once():
    register = registered()
    codes = pod_codes(24)[12:].copy()
    codes[[0, 1]] = "X"
    with pytest.raises(RegisterError) as refused:
        register.register_pods(pods_table(pod_code=codes, node_id=np.full(12, "nowhere")))
    assert refused.value.codes == ("FX-R001", "FX-R002", "FX-R003")


def test_tables_may_come_as_arrow_and_in_parts():
    whole, parts = registered(), Register(Nodes(["n0", "n1", "n2", "n3"]))
    parts.register_parties(pa.table({"party_id": ["B1", "B2", "DSO"], "kind": ["BSP", "BSP", "DSO"]}))
    for rows in (slice(0, 5), slice(5, 12)):
        parts.register_pods(pa.table({name: values[rows] for name, values in pods_table().items()}))
        parts.register_units(pa.table({name: values[rows] for name, values in units_table().items()}))
    assert_same(snapshot(whole), snapshot(parts))


def test_unknown_ids():
    register = registered()
    with pytest.raises(UnknownIdError, match="IT002E99999999") as refused:
        register.unit_rows(["IT002E99999999"])
    assert isinstance(refused.value, KeyError)
    with pytest.raises(UnknownIdError):
        register.aggregate_rows([7])


@pytest.mark.parametrize(
    ("keys", "code"),
    [([["L1"]], "FX-A001"), ([None], "FX-A010"), (["L1", None], "FX-A010"), ([1.5], "FX-A002"), ([True], "FX-A002")],
)
def test_what_is_no_list_of_keys_is_refused(keys, code):
    register = registered()
    for rows in (register.unit_rows, register.aggregate_rows, register.pod_rows):
        with pytest.raises(ValidationError) as refused:
            rows(keys)
        assert refused.value.codes == (code,)
    assert register.unit_rows(np.array(["IT002E00000003"], object)).tolist() == [3]


def test_integer_keys():
    register = Register()
    register.register_parties({"party_id": [7, 5], "kind": ["BSP", "TSO"]})
    register.register_pods(pods_table(3, node_id=np.arange(3)))
    register.register_units(units_table(3, unit_id=[30, 10, 20], bsp=[7, 7, 7]))
    assert register.unit_rows([10, 30]).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_node_sums(dtype):
    register = registered()
    rng = np.random.default_rng(0)
    values = rng.integers(-(2**31), 2**31 - 1, (12, 5)).astype(dtype)
    expected = [[sum(int(values[p, t]) for p in range(n, 12, 4)) for t in range(5)] for n in range(4)]
    for threads in (1, 2):
        sums = register.node_sums_w(values, n_threads=threads)
        assert sums.dtype == np.int64
        assert sums.tolist() == expected
    out = np.empty((4, 5), np.int64)
    assert register.node_sums_w(np.asfortranarray(values), out=out) is out
    assert out.tolist() == expected
