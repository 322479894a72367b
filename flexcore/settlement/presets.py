"""Named settlement terms, each with its source and with what was not found in a public document."""

from flexcore.settlement.terms import ONE_PPM, SettlementTerms

#: Name to terms. Prices belong to a tender or a session, so presets leave them open.
TERMS: dict[str, SettlementTerms] = {
    "linear": SettlementTerms(source="flexcore: what is delivered is paid, up to the order"),
    "dead_band_5": SettlementTerms(
        factor_ppm=((0, 0), (950_000, 950_000), (950_000, ONE_PPM)),
        factor_scope="event",
        tolerance_ppm=50_000,
        source="flexcore: full pay from 95 % of the order, in proportion to the ratio below",
    ),
    "uk_dso_taper": SettlementTerms(
        factor_ppm=((0, 0), (630_000, 0), (630_000, 40_000), (950_000, ONE_PPM)),
        factor_scope="event",
        measured_per="half_hour",
        source="UK DSO services: 3 % less pay for each per cent below 95 %, none below 63 %",
        unverified=("factor_ppm", "factor_scope", "measured_per"),
    ),
    "ssen_transition": SettlementTerms(
        factor_ppm=((0, 0), (500_000, 0), (ONE_PPM, ONE_PPM)),
        factor_scope="event",
        measured_per="half_hour",
        source="SSEN Transition, payment page: sliding between 50 and 100 % of the instructed energy, capped there",
        unverified=("factor_ppm", "factor_scope", "measured_per"),
    ),
    "neso_dfs": SettlementTerms(
        cap_ppm=1_200_000,
        factor_ppm=((0, 0), (250_000, 0), (500_000, ONE_PPM)),
        factor_scope="event",
        measured_per="half_hour",
        source="NESO Demand Flexibility Service proposal (Utility Week): none below 25 %, reduced to 50 %, cap 120 %",
        unverified=("factor_ppm", "factor_scope", "measured_per"),
    ),
    "romeflex": SettlementTerms(
        source="BeFlexible D4.1 5.1: the service actually rendered, and availability where foreseen",
        unverified=("cap_ppm", "tolerance_ppm", "penalty_ueur_per_mwh", "penalty_cap_ppm", "measured_per"),
    ),
    "edge": SettlementTerms(
        source="e-distribuzione EDGE: fixed price per MW and hour available, variable price per verified MWh",
        unverified=("cap_ppm", "tolerance_ppm", "penalty_ueur_per_mwh", "penalty_cap_ppm", "measured_per"),
    ),
    "uvam": SettlementTerms(
        source="Terna UVAM pilot: what was delivered up to the order, at the price of the accepted offer",
        unverified=("cap_ppm", "tolerance_ppm", "penalty_ueur_per_mwh", "penalty_cap_ppm", "measured_per"),
    ),
}
