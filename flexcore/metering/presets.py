"""The presets in use, each with its source."""

from flexcore.metering.baseline_rule import BaselineRule

__all__ = ["PRESETS", "BaselineRule"]

_WINDOW = ("window_steps", "lead_steps")

#: Name to rule. Which days are like the event day, and how far back they may lie, is decided by `eligible`.
PRESETS: dict[str, BaselineRule] = {
    "caiso_10_in_10": BaselineRule(
        "all",
        adjustment="multiplicative",
        source="CAISO Baseline Accuracy Work Group draft proposal, 4 April 2017: 10 of 10, 20 % cap",
        unverified=("min_days", *_WINDOW),
    ),
    "caiso_5_in_10": BaselineRule(
        "high",
        n_selected=5,
        adjustment="multiplicative",
        ratio_ppm=(710_000, 1_400_000),
        source="CAISO Baseline Accuracy Assessment, 20 November 2017: residential 5-in-10",
        unverified=("min_days", "ratio_ppm", *_WINDOW),
    ),
    "high_5_of_10": BaselineRule(
        "high",
        n_selected=5,
        adjustment="additive",
        source="flexcore: High 5 of 10 with the additive form, which also holds where the load changes sign",
    ),
    "low_5_of_10": BaselineRule(
        "low",
        n_selected=5,
        adjustment="additive",
        source="flexcore: mirror of high_5_of_10, for increases of load",
    ),
    "mid_8_of_10": BaselineRule(
        "mid",
        n_selected=8,
        adjustment="additive",
        source="UK ENA Open Networks default: Mid 8 of 10 with same-day adjustment",
        unverified=("min_days", *_WINDOW),
    ),
    "ercot_mid_8_of_10": BaselineRule(
        "mid",
        n_selected=8,
        score="day",
        adjustment="additive",
        source="ERCOT Demand Response Baseline Methodologies v19, 2019: highest and lowest daily energy of 10 dropped",
        unverified=("min_days", "adjustment", *_WINDOW),
    ),
    "nyiso_5_of_10": BaselineRule(
        "high",
        n_selected=5,
        adjustment="multiplicative",
        window_steps=8,
        lead_steps=8,
        source="NYISO customer baseline load: two hours that start four hours before the event",
        unverified=("n_selected", "ratio_ppm", "min_days", *_WINDOW),
    ),
    "pjm_4_of_5": BaselineRule(
        "high",
        n_candidates=5,
        n_selected=4,
        min_days=3,
        adjustment="additive",
        source="PJM Manual 11: customer baseline load, High 4 of 5 weekdays",
        unverified=("min_days", *_WINDOW),
    ),
    "aemo_10_of_10": BaselineRule(
        "all",
        adjustment="multiplicative",
        source="AEMO baseline methodology register, Wholesale Demand Response",
        unverified=("min_days", "ratio_ppm", *_WINDOW),
    ),
    "elexon_bl01": BaselineRule(
        "all",
        adjustment="additive",
        lead_steps=0,
        source="Elexon Baselining Methodology Document v3 as described in a public report: all of 10 working days, 3 h",
        unverified=("min_days", "lead_steps"),
    ),
    "edge": BaselineRule(
        "all",
        adjustment="additive",
        lead_steps=0,
        source="e-distribuzione EDGE: mean of historical data plus a correction from the last hours before activation",
        unverified=("n_candidates", "min_days", *_WINDOW),
    ),
    "rolling_10": BaselineRule(
        "all",
        source="Lind et al. 2023, doi 10.1016/j.jup.2023.101688: rolling average of like days",
        unverified=("min_days",),
    ),
    "meter_before": BaselineRule(
        "meter_before_after",
        source="Lind et al. 2023, doi 10.1016/j.jup.2023.101688: meter before, meter after",
        unverified=("before_steps",),
    ),
    "double_reference": BaselineRule(
        "meter_before_after",
        before_steps=4,
        after_steps=4,
        join="least",
        source="Lind et al. 2023, doi 10.1016/j.jup.2023.101688: the lesser of the means before and after",
        unverified=("before_steps", "after_steps"),
    ),
    "pjm_3_plus_2": BaselineRule(
        "meter_before_after",
        before_steps=12,
        before_gap=4,
        after_steps=8,
        after_gap=4,
        join="mean",
        source="PJM Manual 11: three hours before (one skipped) and two hours after (one skipped)",
    ),
    "nominated": BaselineRule("nominated", source="SSEN Transition and BeFlexible D4.1 7.2: declared the day before"),
    "romeflex": BaselineRule(
        "nominated",
        source="BeFlexible D4.1 7.2: the aggregator updates the POD baseline for the day after",
        unverified=("method",),
    ),
}
