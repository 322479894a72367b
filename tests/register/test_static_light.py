import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import RegisterError, ValidationError
from flexcore.register import static_light as light_module
from flexcore.register.node_headroom import NO_LIMIT_W, THERMAL, VOLTAGE, headroom_from_rows
from flexcore.register.register import Register
from flexcore.register.states import STL
from tests.reference import register_static_light as reference
from tests.register.conftest import Nodes, form, pod_codes, pods_table, registered, unit_ids

BATTERY, DEMAND, PV = 8, 16, 1


def one(technology, up, down, **light):
    """Light of one unit at a POD of 6 kW in, 3 kW out."""
    register = Register(Nodes(["n0"]))
    register.register_parties({"party_id": ["B1"], "kind": ["BSP"]})
    register.register_pods(pods_table(1))
    columns = {"technology": [technology], "up_w": [up], "down_w": [down], "activation_s": [0]}
    register.register_units({"pod_code": pod_codes(1), "bsp": ["B1"], **columns})
    result = register.apply_static_light(at=5, **light)
    return register, result


@pytest.mark.rule("STL-01")
@pytest.mark.parametrize(
    ("technology", "up", "down", "light", "expected", "state"),
    [
        # a battery swings from full withdrawal to full injection: 9 kW
        (BATTERY, 9000, 9000, {}, (9000, 9000), "CONFIRMED"),
        (BATTERY, 9001, 9000, {}, (9000, 9000), "MODULATED"),
        # a consumer cannot reduce more than it withdraws
        (DEMAND, 6000, 6000, {"peak_in_w": [2500]}, (2500, 6000), "MODULATED"),
        (DEMAND, 7000, 0, {}, (6000, 0), "MODULATED"),
        # PV has no reserve upwards, and cannot reduce more than it injects
        (PV, 1000, 3000, {"peak_out_w": [2200]}, (0, 2200), "MODULATED"),
        (PV, 1000, 0, {}, (0, 0), "INVALID"),
        # below the least power nothing is left
        (DEMAND, 900, 900, {"min_w": 1000}, (0, 0), "INVALID"),
        (DEMAND, 900, 1000, {"min_w": 1000}, (0, 1000), "MODULATED"),
        # a peak that is needed and not known
        (DEMAND, 900, 900, {"peak_in_w": [-1]}, (0, 900), "INCOMPLETE"),
        (PV, 0, 900, {"peak_in_w": [-1]}, (0, 900), "CONFIRMED"),
    ],
)
def test_by_hand(technology, up, down, light, expected, state):
    register, result = one(technology, up, down, **light)
    assert (result.up_w[0], result.down_w[0]) == expected
    assert STL.states[result.state[0]] == state
    assert register.units.light_state[0] == result.state[0]
    approved = state in ("CONFIRMED", "MODULATED")
    assert register.units.light_approved_at[0] == (5 if approved else -1)


def test_every_cause_below_the_declared_power_is_named():
    _, result = one(DEMAND, 7000, 100, peak_in_w=[800], min_w=900)
    named = light_module.CONNECTION | light_module.MEASURED | light_module.MINIMUM
    assert result.up_causes[0] == named
    assert result.down_causes[0] == light_module.MINIMUM
    assert all(1 << k in light_module.CAUSES for k in range(6))


def headroom(room_kw):
    """Headroom of a two-node line whose branch takes that much, both ways."""
    rows = {"lower_kw": [[-np.inf], [-room_kw]], "upper_kw": [[np.inf], [room_kw]]}
    none = np.full((2, 1), np.inf)
    return headroom_from_rows([0, 1], [-1, 0], **rows, w_lower=-none, w_upper=none, m=[0.0, 0.0])


def test_network_check_rounds_down():
    register = Register(Nodes(["n9", "n0"]))
    register.register_parties({"party_id": ["B1"], "kind": ["BSP"]})
    register.register_pods(pods_table(1))
    columns = {"technology": [BATTERY], "up_w": [5000], "down_w": [5000], "activation_s": [0]}
    register.register_units({"pod_code": pod_codes(1), "bsp": ["B1"], **columns})
    result = register.apply_static_light(at=5, headroom=headroom(1.2349))
    assert (result.up_w[0], result.down_w[0]) == (1234, 1234)
    assert result.up_causes[0] == light_module.NETWORK


def test_several_units_share_the_limit_of_their_pod():
    register = Register()
    register.register_parties({"party_id": ["B1"], "kind": ["BSP"]})
    register.register_pods(pods_table(1))
    shares = {"unit_id": ["a", "b"], "technology": [DEMAND, DEMAND], "up_w": [5000, 2500], "down_w": [0, 10]}
    register.register_units(
        {"pod_code": np.repeat(pod_codes(1), 2), "bsp": ["B1"] * 2, "activation_s": [0, 0], **shares}
    )
    result = register.apply_static_light(at=1)
    assert result.up_w.tolist() == [4000, 2000]
    assert result.down_w.tolist() == [0, 10]
    assert result.down_state[0] == light_module.NOT_DECLARED


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_against_the_loop(data):
    n_pods, n = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 8))
    power = st.integers(0, 50)
    draw = lambda strategy, size: data.draw(st.lists(strategy, min_size=size, max_size=size))  # noqa: E731
    pods = list(zip(*(draw(power, n_pods) for _ in range(2)), strict=True))
    peaks = [draw(st.integers(-1, 50), n_pods) if data.draw(st.booleans()) else None for _ in range(2)]
    rooms = [draw(power, n_pods) if data.draw(st.booleans()) else None for _ in range(2)]
    where, tech = draw(st.integers(0, n_pods - 1), n), draw(st.integers(1, 127), n)
    declared = {"up": draw(power, n), "down": draw(st.integers(1, 50), n)}
    min_w = data.draw(st.integers(0, 10))
    register = Register()
    register.register_parties({"party_id": ["B1"], "kind": ["BSP"]})
    inout = {"contracted_in_w": [p[0] for p in pods], "contracted_out_w": [p[1] for p in pods]}
    register.register_pods(pods_table(n_pods, **inout))
    columns = {"up_w": declared["up"], "down_w": declared["down"], "technology": tech, "activation_s": [0] * n}
    register.register_units(
        {"unit_id": np.arange(n), "pod_code": pod_codes(n_pods)[where], "bsp": ["B1"] * n, **columns}
    )
    result = light_module.static_light(
        register.units,
        register.pods,
        headroom_up_w=rooms[0],
        headroom_down_w=rooms[1],
        peak_in_w=peaks[0],
        peak_out_w=peaks[1],
        min_w=min_w,
    )
    for direction, room, watts, states in (
        ("up", rooms[0], result.up_w, result.up_state),
        ("down", rooms[1], result.down_w, result.down_state),
    ):
        values = [
            (*pods[p], *(None if peak is None else peak[p] for peak in peaks), None if room is None else room[p])
            for p in range(n_pods)
        ]
        expected = reference.light(direction, declared[direction], where, tech, values, min_w)
        names = ["NOT_DECLARED" if state == 255 else STL.states[state] for state in states]
        assert list(zip(watts.tolist(), names, strict=True)) == expected
        assert (watts <= np.array(declared[direction])).all()


def test_a_stricter_light_cuts_what_is_enrolled(market):
    register = market.register
    register.request_products({"agg_id": ["L1", "L2"], "product_id": ["P_loc", "P_loc"]})
    register.send("qualification", "admit")
    before = register.units
    register.apply_static_light(at=2000, peak_in_w=np.where(np.arange(12) == 0, 100, 6000), min_w=0)
    assert register.units.validated_up_w[0] == 2000  # 100 W less withdrawal, 3000 W more injection
    changed = register.units.unit_id == unit_ids(0)[0]
    register.report_change(np.flatnonzero(changed), up_w=[150])
    assert register.units.enrolled_up_w[:, 0].tolist() == [150, 150]
    assert register.units.enrolled_up_w[:, 1].tolist() == [2000, 2000]
    assert register.qualifications.state.tolist() == [0, 4]  # L1 reopened, L2 still temporary
    assert before.enrolled_up_w[0, 0] == 2000  # the earlier table stays what it was


@pytest.mark.rule("STL-02")
def test_nothing_is_enrolled_before_its_light():
    register = registered()
    with pytest.raises(RegisterError, match="FX-R015"):
        form(register, {"L1": ("B1", 0, [0, 1])})
    register.apply_static_light(at=1000)
    form(register, {"L1": ("B1", 0, [0, 1])})
    assert register.enrolled_w()[0].tolist() == [4000]
    with pytest.raises(RegisterError, match="FX-R014"):
        form(register, {"G1": ("B1", 1, [0, 1])}, up_w=[2000, 2001])


# -- network check ---------------------------------------------------------------------------------------------------


def random_rows(rng, n, n_steps, *, negative_m=False):
    """A random forest in preorder under a random node order, with some rows broken and some without limit."""
    parent = np.full(n, -1, np.int32)
    for i in range(1, n):
        # preorder: the parent is the node before, or one of its ancestors (or a new root)
        chain = reference.path(parent, i - 1)
        parent[i] = -1 if rng.random() < 0.05 else chain[rng.integers(len(chain))]
    m = rng.uniform(0.0, 2.0, n) * (rng.random(n) > 0.2)
    if negative_m:
        m *= rng.choice([-1.0, 1.0], n)
    m[parent < 0] = 0.0

    def limits(scale):
        room = rng.exponential(scale, (n, n_steps)) - 0.1 * scale
        room[rng.random((n, n_steps)) < 0.2] = np.inf
        return room

    return parent, {
        "upper_kw": limits(5.0),
        "lower_kw": -limits(5.0),
        "w_upper": limits(8.0),
        "w_lower": -limits(8.0),
        "m": m,
    }


@pytest.mark.rule("STL-01")
def test_headroom_equals_every_row_of_every_node():
    rng = np.random.default_rng(5)
    kinds = set()
    for _ in range(60):
        n, n_steps = int(rng.integers(1, 25)), int(rng.integers(1, 4))
        parent, rows = random_rows(rng, n, n_steps)
        order = rng.permutation(n).astype(np.int32)
        in_user_order = {name: np.empty_like(values) for name, values in rows.items()}
        for name, values in rows.items():
            in_user_order[name][order] = values
        result = headroom_from_rows(order, parent, **in_user_order)
        for direction, got, kind, step in (
            ("up", result.up_kw, result.up_kind, result.up_step),
            ("down", result.down_kw, result.down_kind, result.down_step),
        ):
            for i in range(n):
                each = [
                    reference.headroom(
                        parent,
                        *(rows[k][:, t] for k in ("lower_kw", "upper_kw", "w_lower", "w_upper")),
                        rows["m"],
                        i,
                        direction,
                    )
                    for t in range(n_steps)
                ]
                assert got[order[i]] == pytest.approx(min(each), rel=1e-12)
                assert each[step[order[i]]] == pytest.approx(min(each), rel=1e-12)
                kinds.add(int(kind[order[i]]))
    assert kinds == {0, THERMAL, VOLTAGE}


def test_negative_sensitivities_stay_safe():
    rng = np.random.default_rng(6)
    strict = 0
    for _ in range(40):
        n = int(rng.integers(2, 15))
        parent, rows = random_rows(rng, n, 1, negative_m=True)
        result = headroom_from_rows(np.arange(n), parent, **rows)
        for i in range(n):
            arrays = [rows[k][:, 0] for k in ("lower_kw", "upper_kw", "w_lower", "w_upper")]
            for direction, got in (("up", result.up_kw[i]), ("down", result.down_kw[i])):
                exact = reference.headroom(parent, *arrays, rows["m"], i, direction)
                assert got <= exact * (1 + 1e-12)
                strict += got < exact
    assert strict > 0  # the proof of exactness needs m >= 0


def test_broken_rows_are_left_to_the_dynamic_light():
    none = np.full((3, 1), np.inf)
    rows = {"w_lower": -none, "w_upper": none, "m": [0.0, 0.0, 0.0]}
    upper, lower = np.array([[np.inf], [-1.0], [4.0]]), np.array([[-np.inf], [-9.0], [-3.0]])
    result = headroom_from_rows([0, 1, 2], [-1, 0, 1], lower_kw=lower, upper_kw=upper, **rows)
    assert result.up_kw.tolist() == [np.inf, np.inf, 4.0]  # the export overload at node 1 is not new
    assert result.down_kw.tolist() == [np.inf, 9.0, 3.0]  # the relief of it is limited by its other side
    assert result.up_binding.tolist() == [-1, -1, 2]
    assert result.down_binding.tolist() == [-1, 1, 2]
    assert result.up_w.tolist() == [NO_LIMIT_W, NO_LIMIT_W, 4000]


def test_rows_that_cannot_be_are_refused():
    none = np.full((2, 1), np.inf)
    rows = {"w_lower": -none, "w_upper": none, "m": [0.0, 0.0]}
    with pytest.raises(ValidationError, match="preorder"):
        headroom_from_rows([0, 1], [1, -1], lower_kw=-none, upper_kw=none, **rows)
    with pytest.raises(ValidationError, match="FX-A003"):
        headroom_from_rows([0, 1], [-1, 0], lower_kw=none * np.nan, upper_kw=none, **rows)


@pytest.mark.rule("STL-01")
def test_headroom_on_a_real_line():
    from flexcore.grid.network import Grid
    from flexcore.grid.power_flow import power_flow
    from flexcore.register.node_headroom import node_headroom

    # busbar - a - b, ratings 10 and 5 kVA, 4 kW at a and 3 kW at b; the second snapshot injects 4 kW at b
    nodes = {"id": ["s", "a", "b"], "v_nom_kv": [0.4] * 3, "slack": [True, False, False]}
    lines = {"id": [0, 1], "from_id": ["s", "a"], "to_id": ["a", "b"], "r_ohm": [1e-4] * 2, "x_ohm": [1e-4] * 2}
    grid = Grid.from_tables(nodes, lines | {"s_max_kva": [10.0, 5.0]})
    p = np.array([[0.0, 0.0], [4.0, 4.0], [3.0, -4.0]])
    room = node_headroom(grid, p, np.zeros((3, 2)))
    a, b = grid.node_index(["a", "b"])
    # down: 10 - 7 at a; min(3, 5 - 3) at b. up: 10 + 0 at a (import 0 in the second snapshot); 5 - 4 at b
    assert room.down_kw[[a, b]] == pytest.approx([3.0, 2.0], abs=1e-3)
    assert room.up_kw[[a, b]] == pytest.approx([10.0, 1.0], abs=1e-3)
    assert room.up_step[[a, b]].tolist() == [1, 1]
    assert room.down_step[[a, b]].tolist() == [0, 0]
    assert room.down_binding[[a, b]].tolist() == [a, b]
    assert np.isinf(room.up_kw[grid.node_index(["s"])]).all()
    moved = p.copy()
    moved[b] += [room.down_kw[b], -room.up_kw[b]]
    flow = power_flow(grid, moved, np.zeros((3, 2)), method="ac", outputs=("loading",))
    assert flow.loading.max() == pytest.approx(1.0, abs=1e-3)


def test_headroom_is_confirmed_by_the_power_flow():
    from flexcore.grid.network import Grid
    from flexcore.grid.power_flow import power_flow
    from flexcore.register.node_headroom import node_headroom

    rng = np.random.default_rng(11)
    kinds = set()
    for _ in range(10):
        n = 12
        parent = [-1, *(int(rng.integers(0, k)) for k in range(1, n))]
        nodes = {"id": np.arange(n), "v_nom_kv": np.full(n, 0.4), "slack": np.arange(n) == 0}
        nodes |= {"v_min_pu": np.full(n, 0.95), "v_max_pu": np.full(n, 1.05)}
        lines = {"id": np.arange(n - 1), "from_id": parent[1:], "to_id": np.arange(1, n)}
        lines |= {"r_ohm": rng.uniform(0.01, 0.1, n - 1), "x_ohm": rng.uniform(0.001, 0.01, n - 1)}
        grid = Grid.from_tables(nodes, lines | {"s_max_kva": rng.uniform(20.0, 80.0, n - 1)})
        p = rng.uniform(-3.0, 5.0, (n, 1))
        p[0] = 0.0
        q = 0.2 * np.abs(p)
        room = node_headroom(grid, p, q)
        before = power_flow(grid, p, q, method="ac", outputs=("loading", "v_pu"))
        if (before.loading > 1).any() or (np.abs(before.v_pu - 1) > 0.05).any():
            continue
        # every node alone, one step each: nothing is violated beyond what losses add, and something is within reach
        for sign, kw, kind in ((-1.0, room.up_kw, room.up_kind), (1.0, room.down_kw, room.down_kind)):
            alone = np.repeat(p, n - 1, axis=1)
            alone[np.arange(1, n), np.arange(n - 1)] += sign * kw[1:]
            flow = power_flow(grid, alone, np.repeat(q, n - 1, axis=1), method="ac", outputs=("loading", "v_pu"))
            worst = np.maximum(flow.loading.max(axis=0), np.abs(flow.v_pu - 1).max(axis=0) / 0.05)
            assert (worst < 1.1).all()
            assert (worst > 0.9).all()
            kinds |= set(kind[1:].tolist())
    assert kinds == {THERMAL, VOLTAGE}
