"""Baseline rules: what a method needs to know, and the presets in use, each with its source."""

from dataclasses import dataclass
from typing import Literal

from flexcore.errors import Findings, OptionError, ValidationError

Method = Literal["high", "mid", "low", "all", "nominated", "meter_before_after"]


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """One baseline method with all its numbers; no number of a method lives anywhere else.

    Attributes
    ----------
    method : str
        "high", "mid", "low" or "all" X of Y; "nominated"; "meter_before_after".
    n_candidates, n_selected : int
        Y, the latest eligible days that are looked at, and X, the days of them that are averaged.
    min_days : int
        With fewer eligible days than this a POD has no baseline; between this and Y it uses what there is.
    score : {"event", "day"}
        Days are compared by their mean over the event quarter-hours or over the whole day.
    adjustment : {"none", "additive", "multiplicative"}
        Same-day adjustment of X of Y.
    window_steps, lead_steps : int
        The adjustment window has `window_steps` quarter-hours and ends `lead_steps` before the event starts.
    ratio_ppm : (int, int)
        Bounds of the multiplicative adjustment. [parts per million]
    cap_w : int or None
        Bound of the additive adjustment, on either side. [W]
    guard_w : int
        A multiplicative adjustment becomes additive where the mean baseline over the window is not above this, or the
        metered sum is negative. [W]
    before_steps, before_gap, after_steps, after_gap : int
        Meter-before-meter-after: quarter-hours before and after the event that are averaged, and those skipped.
    join : {"before", "mean", "least", "largest"}
        Meter-before-meter-after: the mean before; the mean of all; the lesser or the larger of both means.
    source : str
        Where the rule comes from.
    unverified : tuple of str
        Fields whose numbers are common knowledge and were not found in a public document.
    """

    method: Method
    n_candidates: int = 10
    n_selected: int = 10
    min_days: int = 5
    score: Literal["event", "day"] = "event"
    adjustment: Literal["none", "additive", "multiplicative"] = "none"
    window_steps: int = 12
    lead_steps: int = 4
    ratio_ppm: tuple[int, int] = (800_000, 1_200_000)
    cap_w: int | None = None
    guard_w: int = 0
    before_steps: int = 1
    before_gap: int = 0
    after_steps: int = 0
    after_gap: int = 0
    join: Literal["before", "mean", "least", "largest"] = "before"
    source: str = ""
    unverified: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ValidationError FX-B004 with every contradiction, or OptionError FX-E002 for an unknown name."""
        found = Findings("baseline rule")
        names = {
            "method": ("high", "mid", "low", "all", "nominated", "meter_before_after"),
            "score": ("event", "day"),
            "adjustment": ("none", "additive", "multiplicative"),
            "join": ("before", "mean", "least", "largest"),
        }
        for field, allowed in names.items():
            value = getattr(self, field)
            if value not in allowed:
                found.add("FX-E002", f"{field}={value!r} does not exist", hint=f"use one of {', '.join(allowed)}")
        found.raise_errors(OptionError)
        checks = (
            (1 <= self.min_days <= self.n_candidates, "min_days must lie in 1..n_candidates"),
            (1 <= self.n_selected <= self.n_candidates, "n_selected must lie in 1..n_candidates"),
            (self.method != "all" or self.n_selected == self.n_candidates, "'all' needs n_selected == n_candidates"),
            (
                self.method != "mid" or (self.n_candidates - self.n_selected) % 2 == 0,
                "'mid' drops as many days above as below: n_candidates - n_selected must be even",
            ),
            (
                self.window_steps >= 1 and self.lead_steps >= 0,
                "the window needs a quarter-hour, the lead is not negative",
            ),
            (0 <= self.ratio_ppm[0] <= 1_000_000 <= self.ratio_ppm[1], "ratio_ppm must enclose 1000000"),
            (self.cap_w is None or self.cap_w >= 0, "cap_w must not be negative"),
            (self.guard_w >= 0, "guard_w must not be negative"),
            (
                min(self.before_steps, self.before_gap, self.after_steps, self.after_gap) >= 0,
                "steps before and after must not be negative",
            ),
            (
                self.method != "meter_before_after"
                or (self.before_steps > 0 and (self.join == "before" or self.after_steps > 0)),
                "meter_before_after needs steps before, and steps after unless it joins 'before' only",
            ),
        )
        for holds, message in checks:
            if not holds:
                found.add("FX-B004", message)
        found.raise_errors(ValidationError)


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
