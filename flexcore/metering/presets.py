"""The presets in use, each with its source."""

from dataclasses import replace

from flexcore.metering.baseline_rule import BaselineRule

__all__ = ["PRESETS", "BaselineRule"]

_WINDOW = ("window_steps", "lead_steps")
_PJM = "PJM Manual 11: customer baseline load"
_ELEXON = "Elexon Baselining Methodology Document v3 as described in a public report"
_LIND = "Lind et al. 2023, doi 10.1016/j.jup.2023.101688"

_DAYS: dict[str, BaselineRule] = {
    "caiso_10_in_10": BaselineRule(
        "all",
        adjustment="multiplicative",
        source="CAISO Baseline Accuracy Work Group draft proposal, 4 April 2017: 10 of 10, 20 % cap",
        unverified=("min_days", "adjustment", *_WINDOW),
    ),
    "caiso_4_in_4_weekend": BaselineRule(
        "all",
        n_candidates=4,
        n_selected=4,
        min_days=2,
        adjustment="multiplicative",
        source="CAISO: 4 of 4 on days off, beside caiso_10_in_10",
        unverified=("n_candidates", "n_selected", "min_days", "adjustment", *_WINDOW),
    ),
    "caiso_5_in_10": BaselineRule(
        "high",
        n_selected=5,
        adjustment="multiplicative",
        ratio_ppm=(710_000, 1_400_000),
        source="CAISO Baseline Accuracy Assessment, 20 November 2017: residential 5-in-10",
        unverified=("min_days", "adjustment", "ratio_ppm", *_WINDOW),
    ),
    "caiso_3_in_5_weekend": BaselineRule(
        "high",
        n_candidates=5,
        n_selected=3,
        min_days=3,
        adjustment="multiplicative",
        ratio_ppm=(710_000, 1_400_000),
        source="CAISO: residential 3 of 5 on days off, beside caiso_5_in_10",
        unverified=("n_candidates", "n_selected", "min_days", "adjustment", "ratio_ppm", *_WINDOW),
    ),
    "caiso_weather_match": BaselineRule(
        "low",
        n_candidates=90,
        n_selected=4,
        min_days=4,
        score="given",
        adjustment="multiplicative",
        ratio_ppm=(710_000, 1_400_000),
        source="CAISO Baseline Accuracy Assessment, 20 November 2017: the 4 days of 90 with the closest maximum "
        "temperature (day_score: temperature_distance)",
        unverified=("n_candidates", "n_selected", "min_days", "adjustment", "ratio_ppm", *_WINDOW),
    ),
    "high_5_of_10": BaselineRule(
        "high",
        n_selected=5,
        adjustment="additive",
        source="flexcore: High 5 of 10 with the additive form, which also holds where the load changes sign",
    ),
    "high_5_of_10_unadjusted": BaselineRule(
        "high",
        n_selected=5,
        source="flexcore: high_5_of_10 for loads whose last hours say nothing of the next ones, such as chargers",
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
        unverified=("method", "n_candidates", "n_selected", "min_days", "adjustment", *_WINDOW),
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
        unverified=("method", "n_candidates", "n_selected", "min_days", "adjustment", "ratio_ppm", *_WINDOW),
    ),
    "nyiso_2_of_3_weekend": BaselineRule(
        "high",
        n_candidates=3,
        n_selected=2,
        min_days=2,
        adjustment="multiplicative",
        window_steps=8,
        lead_steps=8,
        source="NYISO customer baseline load: 2 of 3 on days off, beside nyiso_5_of_10",
        unverified=("method", "n_candidates", "n_selected", "min_days", "adjustment", "ratio_ppm", *_WINDOW),
    ),
    "pjm_4_of_5": BaselineRule(
        "high",
        n_candidates=5,
        n_selected=4,
        min_days=3,
        adjustment="additive",
        source=f"{_PJM}, High 4 of 5 weekdays",
        unverified=("method", "n_candidates", "n_selected", "min_days", "adjustment", *_WINDOW),
    ),
    "pjm_2_of_3_weekend": BaselineRule(
        "high",
        n_candidates=3,
        n_selected=2,
        min_days=2,
        adjustment="additive",
        source=f"{_PJM}, High 2 of 3 Saturdays, or Sundays and holidays",
        unverified=("method", "n_candidates", "n_selected", "min_days", "adjustment", *_WINDOW),
    ),
    "pjm_match_day": BaselineRule(
        "low",
        n_candidates=45,
        n_selected=3,
        min_days=3,
        score="given",
        source="PJM Manual 11: the 3 days without event that are closest outside the event and an hour on either side "
        "of it (day_score: match_day_distance)",
        unverified=("min_days",),
    ),
    "aemo_10_of_10": BaselineRule(
        "all",
        adjustment="multiplicative",
        source="AEMO baseline methodology register, Wholesale Demand Response",
        unverified=("min_days", "adjustment", "ratio_ppm", *_WINDOW),
    ),
    "elexon_bl01": BaselineRule(
        "all",
        adjustment="additive",
        lead_steps=0,
        idle="metered",
        source=f"{_ELEXON}: all of 10 working days, 3 h; no volume without dispatch or trade",
        unverified=("min_days", "lead_steps"),
    ),
    "elexon_bl01_non_working": BaselineRule(
        "all",
        n_candidates=4,
        n_selected=4,
        min_days=2,
        adjustment="additive",
        lead_steps=0,
        idle="metered",
        source=f"{_ELEXON}: all of 4 non-working days, beside elexon_bl01",
        unverified=("min_days", "lead_steps"),
    ),
    "edge": BaselineRule(
        "all",
        adjustment="additive",
        lead_steps=0,
        source="e-distribuzione EDGE: mean of historical data plus a correction from the last hours before activation",
        unverified=("n_candidates", "n_selected", "min_days", *_WINDOW),
    ),
    "rolling_10": BaselineRule(
        "all", source=f"{_LIND}: rolling average of like days", unverified=("n_candidates", "n_selected", "min_days")
    ),
    "iso_ne_rolling": BaselineRule(
        "exponential",
        min_days=10,
        adjustment="additive",
        source="ISO New England: each like day moves the baseline by a tenth",
        unverified=("method", "n_candidates", "min_days", "weight_ppm", "adjustment", *_WINDOW),
    ),
    "degree_hours": BaselineRule(
        "regression",
        n_candidates=90,
        min_days=45,
        source="ERCOT Demand Response Baseline Methodologies v19, 2019, for the family: a level for each hour and "
        "slopes on degree hours, 45 to 90 days",
        unverified=("n_candidates", "min_days", "cooling_above_c100", "heating_below_c100"),
    ),
}

_SAME_DAY: dict[str, BaselineRule] = {
    "meter_before": BaselineRule(
        "meter_before_after", source=f"{_LIND}: meter before, meter after", unverified=("before_steps",)
    ),
    "double_reference": BaselineRule(
        "meter_before_after",
        before_steps=4,
        after_steps=4,
        join="least",
        source=f"{_LIND}: the lesser of the means before and after",
        unverified=("before_steps", "after_steps"),
    ),
    "nebef_rectangle": BaselineRule(
        "meter_before_after",
        before_steps=2,
        after_steps=2,
        join="least",
        source="RTE NEBEF: rectangle with double reference",
        unverified=("method", "before_steps", "after_steps", "join"),
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
    "uk_fixed_reference": BaselineRule(
        "reference", source="SSEN Transition: half-hourly profile set by the DSO, times the number of domestic devices"
    ),
    "control_group": BaselineRule(
        "control_group",
        min_controls=10,
        source=f"{_LIND}: mean load of PODs that do not take part",
        unverified=("min_controls",),
    ),
    "nominated": BaselineRule("nominated", source="SSEN Transition and BeFlexible D4.1 7.2: declared the day before"),
    "romeflex": BaselineRule(
        "nominated",
        source="BeFlexible D4.1 7.2: the aggregator updates the POD baseline for the day after",
        unverified=("method",),
    ),
}
_SAME_DAY["control_group_ratio"] = replace(
    _SAME_DAY["control_group"],
    adjustment="multiplicative",
    ratio_ppm=(500_000, 2_000_000),
    source=f"{_LIND}: mean load of PODs that do not take part, times the ratio of the loads before the event",
    unverified=("min_controls", "ratio_ppm", *_WINDOW),
)

#: Name to rule. Which days are like the event day, and how far back they may lie, is decided by `eligible`.
PRESETS: dict[str, BaselineRule] = {**_DAYS, **_SAME_DAY}
