"""Baseline rules: one method with all its numbers."""

from dataclasses import dataclass
from typing import Literal, get_args

from flexcore.errors import Findings, OptionError, ValidationError

XofY = Literal["high", "mid", "low", "all"]
Method = Literal[XofY, "exponential", "regression", "reference", "control_group", "nominated", "meter_before_after"]
Score = Literal["event", "day", "given"]
Statistic = Literal["mean", "median"]
Adjustment = Literal["none", "additive", "multiplicative"]
Join = Literal["before", "mean", "least", "largest"]
Idle = Literal["baseline", "metered"]

_NUMBERS = (
    "n_candidates", "n_selected", "min_days", "low_use_ppm", "window_steps", "lead_steps", "ratio_ppm", "cap_w",
    "guard_w", "before_steps", "before_gap", "after_steps", "after_gap", "weight_ppm", "level_steps",
    "cooling_above_c100", "heating_below_c100", "min_controls",
)  # fmt: skip

#: Readings of one hour for which the regression's sums are exact in 64 bits.
MOST_READINGS = 512


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """One baseline method with all its numbers; no number of a method lives anywhere else.

    Attributes
    ----------
    method : str
        "high", "mid", "low" or "all" X of Y; "exponential" rolling; "regression" on degree hours; fixed "reference";
        "control_group"; "nominated"; "meter_before_after".
    n_candidates, n_selected : int
        Y, the latest eligible days that are looked at, and X, the days of them that are averaged. Regression fits the
        latest Y days; the exponential baseline starts with the mean of the *first* Y.
    min_days : int
        With fewer eligible days than this a POD has no baseline; between this and Y it uses what there is.
    score : {"event", "day", "given"}
        Days are compared by their mean over the event quarter-hours, by that over the whole day, or by the `day_score`
        that the call gives ("low" then takes the nearest days).
    low_use_ppm : int or None
        A candidate whose mean over the event is below this part of the mean over all candidates is dropped, and the
        next eligible day takes its place (see `baseline`). [parts per million]
    statistic : {"mean", "median"}
        What is taken of the selected days, in each quarter-hour.
    adjustment : {"none", "additive", "multiplicative"}
        Same-day adjustment; not of nominated baselines and of meter-before-meter-after.
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
    weight_ppm : int
        Exponential: weight of the new day. [parts per million]
    level_steps : int
        Regression: quarter-hours that share one level.
    cooling_above_c100, heating_below_c100 : int
        Regression: temperatures from which degrees count. [hundredths of a degree Celsius]
    min_controls : int
        Control group: members that must have a reading in a quarter-hour.
    idle : {"baseline", "metered"}
        What stands in quarter-hours without event: the baseline, or the reading itself, hence zero volume.
    source : str
        Where the rule comes from.
    unverified : tuple of str
        Fields whose numbers are common knowledge and were not found in a public document.
    """

    method: Method
    n_candidates: int = 10
    n_selected: int = 10
    min_days: int = 5
    score: Score = "event"
    low_use_ppm: int | None = None
    statistic: Statistic = "mean"
    adjustment: Adjustment = "none"
    window_steps: int = 12
    lead_steps: int = 4
    ratio_ppm: tuple[int, int] = (800_000, 1_200_000)
    cap_w: int | None = None
    guard_w: int = 0
    before_steps: int = 1
    before_gap: int = 0
    after_steps: int = 0
    after_gap: int = 0
    join: Join = "before"
    weight_ppm: int = 100_000
    level_steps: int = 4
    cooling_above_c100: int = 2200
    heating_below_c100: int = 1800
    min_controls: int = 1
    idle: Idle = "baseline"
    source: str = ""
    unverified: tuple[str, ...] = ()

    @property
    def is_x_of_y(self) -> bool:
        """Whether days are selected and averaged."""
        return self.method in get_args(XofY)

    def check(self) -> None:
        """Raise ValidationError FX-B004 with every contradiction, or OptionError FX-E002 for an unknown name."""
        found = Findings("baseline rule")
        names = {
            "method": get_args(Method),
            "score": get_args(Score),
            "statistic": get_args(Statistic),
            "adjustment": get_args(Adjustment),
            "join": get_args(Join),
            "idle": get_args(Idle),
        }
        for field, allowed in names.items():
            value = getattr(self, field)
            if value not in allowed:
                found.add("FX-E002", f"{field}={value!r} does not exist", hint=f"use one of {', '.join(allowed)}")
        found.raise_errors(OptionError)
        for field in _NUMBERS:
            value = getattr(self, field)
            optional = field in ("low_use_ppm", "cap_w") and value is None
            for number in value if field == "ratio_ppm" and isinstance(value, tuple) else (value,):
                if not optional and (type(number) is not int or abs(number) >= 1 << 31):
                    found.add("FX-B004", f"{field} is {value!r}, expected whole numbers below 2^31")
        if not isinstance(self.ratio_ppm, tuple) or len(self.ratio_ppm) != 2:
            found.add("FX-B004", f"ratio_ppm is {self.ratio_ppm!r}, expected a tuple of a lower and an upper bound")
        found.raise_errors(ValidationError)
        around = self.method == "meter_before_after"
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
            (
                self.low_use_ppm is None or 0 <= self.low_use_ppm <= 1_000_000,
                "low_use_ppm must lie in 0..1000000",
            ),
            (self.cap_w is None or self.cap_w >= 0, "cap_w must not be negative"),
            (self.guard_w >= 0, "guard_w must not be negative"),
            (
                min(self.before_steps, self.before_gap, self.after_steps, self.after_gap) >= 0,
                "steps before and after must not be negative",
            ),
            (
                not around or (self.before_steps > 0 and (self.join == "before" or self.after_steps > 0)),
                "meter_before_after needs steps before, and steps after unless it joins 'before' only",
            ),
            (
                self.adjustment == "none" or not (around or self.method == "nominated"),
                f"{self.method!r} has no same-day adjustment",
            ),
            (self.statistic == "mean" or self.is_x_of_y, "a median is taken of the selected days of X of Y only"),
            (0 <= self.weight_ppm <= 1_000_000, "weight_ppm must lie in 0..1000000"),
            (self.level_steps >= 1, "a level needs a quarter-hour"),
            (
                self.method != "regression" or self.n_candidates * self.level_steps <= MOST_READINGS,
                f"regression fits at most {MOST_READINGS} readings to a level: n_candidates x level_steps is more",
            ),
            (self.min_controls >= 1, "min_controls must be 1 or more"),
        )
        for holds, message in checks:
            if not holds:
                found.add("FX-B004", message)
        found.raise_errors(ValidationError)
