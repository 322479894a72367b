"""What a scheme's outcome costs, what it leaves open, and what it does to both networks."""

from dataclasses import dataclass

import numpy as np

from flexcore.market.schemes.case import CoordinationCase, Floats
from flexcore.market.schemes.classify import coordinet_group
from flexcore.market.schemes.clearing import StepState
from flexcore.market.schemes.messages import count_messages
from flexcore.market.schemes.protection import violations
from flexcore.market.schemes.run import SchemeRun
from flexcore.units import UP

#: An outcome is safe if it breaks no row of a distribution grid further than the forecast did, by more than this. [kW]
SAFE_KW = 1e-3


@dataclass(frozen=True, slots=True)
class SchemeOutcome:
    """Key figures of one scheme on one case. Energies are sums over all steps.

    Attributes
    ----------
    scheme, title, group : str
        `group` is the CoordiNet group.
    payment_eur : float
        Paid to providers as bid, minus what market parties pay for what they buy.
    penalty_eur : float
        Unserved need at the penalties of the case.
    cost_eur : float
        The sum of both: costs are compared at equal served need.
    unserved_distribution_mwh, overload_transmission_mwh, imbalance_mwh : float
        Needs left open: over elements of the distribution grid as activation at the element, over lines, and of the
        balance of the system.
    violations_before, violations_after, violations_new : int
        Elements of the distribution grids and steps beyond their limits without any activation, after the scheme,
        and worse than before.
    lines_before, lines_after : int
        The same for lines of transmission.
    worst_kw : float
        Largest amount by which an element of a distribution grid is worse than before.
    up_mwh, down_mwh, der_mwh, tso_der_mwh : float
        Activated; the part that distribution systems deliver; the part of that which is bought by or with the TSO.
    discordant_mwh : float
        Activation for local needs that raises the need for balance (D4.1 Figure 15).
    double_mwh, removed_mwh : float
        Selected twice, and taken out by the DSO afterwards.
    trade_mwh : float
        Sold to market parties.
    messages, n_bytes : int
    seconds : float
        Run time; not part of a comparison of results.
    """

    scheme: str
    title: str
    group: str
    payment_eur: float
    penalty_eur: float
    cost_eur: float
    unserved_distribution_mwh: float
    overload_transmission_mwh: float
    imbalance_mwh: float
    violations_before: int
    violations_after: int
    violations_new: int
    lines_before: int
    lines_after: int
    worst_kw: float
    up_mwh: float
    down_mwh: float
    der_mwh: float
    tso_der_mwh: float
    discordant_mwh: float
    double_mwh: float
    removed_mwh: float
    trade_mwh: float
    messages: int
    n_bytes: int
    seconds: float

    @property
    def safe(self) -> bool:
        """No element of a distribution grid is worse than before."""
        return self.worst_kw <= SAFE_KW


def open_needs_kw(case: CoordinationCase, taken_kw: Floats, trade_kw: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what is left open per step: needs of distribution grids, overload of lines, imbalance, in kW."""
    layout, transmission = case.layout, case.transmission
    local, lines, balance = np.zeros(case.n_steps), np.zeros(case.n_steps), np.zeros(case.n_steps)
    for t in range(case.n_steps):
        state = StepState.of(case, t, np.ascontiguousarray(taken_kw[:, t]), trade_kw[:, t])
        for way, bound, value in (
            (1.0, layout.lower[t], state.y_kw),
            (-1.0, layout.upper[t], state.y_kw),
            (1.0, layout.v_lower[t], state.v_kw),
            (-1.0, layout.v_upper[t], state.v_kw),
        ):
            asked = np.isfinite(bound) & (way * bound > 0)
            local[t] += float(np.maximum(way * (bound[asked] - value[asked]), 0.0).sum())
        flow = transmission.flow_kw[:, t] + transmission.ptdf @ state.t_net_kw
        lines[t] = float(np.maximum(np.abs(flow) - transmission.limit_kw, 0.0).sum())
        balance[t] = state.rest_kw
    return local, lines, balance


def outcome_of(run: SchemeRun) -> SchemeOutcome:
    """Work out the key figures of a run."""
    case, offers, penalties = run.case, run.case.offers, run.case.penalties
    hours = case.step_hours
    local, lines, rest = open_needs_kw(case, run.taken_kw, run.trade_kw)
    imbalance = np.abs(rest)
    mwh = hours / 1000.0
    energy = run.taken_kw.sum(axis=1) * mwh
    sold = run.trade_kw.sum(axis=1) * mwh
    payment = float(offers.price @ energy - case.bids.price_cap @ sold)
    penalty = mwh * float(
        penalties.distribution * local.sum()
        + penalties.transmission * lines.sum()
        + penalties.balance * imbalance.sum()
    )
    before, after, worse = violations(case, run.taken_kw)
    flow = case.transmission.flow_kw
    moved = np.array(
        [
            np.bincount(case.layout.t_node, offers.sign * run.taken_kw[:, t], case.transmission.n_nodes)
            for t in range(case.n_steps)
        ]
    ).reshape(case.n_steps, case.transmission.n_nodes)
    over = case.transmission.limit_kw[:, None] + SAFE_KW
    up, inside = offers.direction == UP, offers.node >= 0
    counted = count_messages(run)
    return SchemeOutcome(
        scheme=run.scheme.name,
        title=run.scheme.title,
        group=coordinet_group(run.scheme),
        payment_eur=payment,
        penalty_eur=penalty,
        cost_eur=payment + penalty,
        unserved_distribution_mwh=float(local.sum()) * mwh,
        overload_transmission_mwh=float(lines.sum()) * mwh,
        imbalance_mwh=float(imbalance.sum()) * mwh,
        violations_before=int(before.sum()),
        violations_after=int(after.sum()),
        violations_new=int((worse > SAFE_KW).sum()),
        lines_before=int((np.abs(flow) > over).sum()),
        lines_after=int((np.abs(flow + case.transmission.ptdf @ moved.T) > over).sum()),
        worst_kw=float(worse.max(initial=0.0)),
        up_mwh=float(energy[up].sum()),
        down_mwh=float(energy[~up].sum()),
        der_mwh=float(energy[inside].sum()),
        tso_der_mwh=mwh * sum(float(r.kept_kw[inside].sum()) for r in run.stages if "tso" in r.stage.buyers),
        discordant_mwh=_discordant_kw(run) * mwh,
        double_mwh=_lost_kw(run, filtered=False) * mwh,
        removed_mwh=_lost_kw(run, filtered=True) * mwh,
        trade_mwh=float(sold.sum()),
        messages=counted.messages,
        n_bytes=counted.n_bytes,
        seconds=run.seconds,
    )


def _discordant_kw(run: SchemeRun) -> float:
    """Sum over steps of the part of local activation that raises the need for balance (MSD-01)."""
    need, total = run.case.balance_kw, 0.0
    for record in run.stages:
        if record.stage.needs != ("d_congestion",):
            continue
        local = run.case.offers.sign @ record.kept_kw
        with_need = np.sign(local) * np.sign(need) > 0
        total += float(np.where(with_need, np.maximum(np.abs(local) - np.abs(need), 0.0), np.abs(local)).sum())
    return total


def _lost_kw(run: SchemeRun, *, filtered: bool) -> float:
    return sum(
        float((record.accepted_kw - record.kept_kw).sum())
        for record in run.stages
        if (record.stage.check == "ex_post") == filtered
    )
