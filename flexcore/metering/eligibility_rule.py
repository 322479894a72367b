"""Rules of eligibility: which past days may be reference days, what happens when they are too few, and presets."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from flexcore.errors import Findings, OptionError, ValidationError, check_option
from flexcore.metering.calendar import SCHEMES, Scheme
from flexcore.metering.presets import PRESETS, BaselineRule

#: Most event days that can be borrowed: orders of choice 3 to 255.
MOST_BORROWED = 253
#: Orders in which fall-backs may be followed; a POD that still has too few days has no baseline.
FALL_BACKS: tuple[tuple[str, ...], ...] = ((), ("widen",), ("borrow",), ("widen", "borrow"))


@dataclass(frozen=True, slots=True)
class EligibilityRule:
    """Which past days are like the event day; no number of it lives anywhere else.

    Attributes
    ----------
    day_types : {"working", "three", "weekday", "all"}
        How days are told apart, see `calendar.SCHEMES`.
    look_back_days : int
        The oldest day that counts lies this many days before the event day.
    gap_days : int
        Days right before the event day that do not count, because their readings are not final.
    completeness_ppm : int
        Share of the quarter-hours of a day that must have a reading; 0 asks for nothing beyond the quarter-hours that
        the baseline itself needs. [parts per million]
    clock_change : {"exclude", "map"}
        Past days of 92 or 100 quarter-hours do not count, or are brought to the clock of the event day.
    event_days : {"whole", "needed"}
        A day is an event day if an event, its rebound or its recovery touches any of its quarter-hours, or only if it
        touches one that the baseline needs; elsewhere touched quarter-hours then count as not read.
    rebound_steps, recovery_steps : int
        Quarter-hours after each event in which its energy comes back, and in which the POD settles after that.
    fall_backs : tuple of str
        One of `FALL_BACKS`: "widen" takes days of the widened look-back, "borrow" event days, lowest impact first.
    widened_days : int
        Look-back after "widen".
    borrow_most : int
        Event days that a POD may borrow.
    impact : {"quarter_hours", "energy"}
        Event days are ordered by the number of touched quarter-hours or by the ordered energy; equal: the most recent
        first.
    source : str
        Where the rule comes from.
    unverified : tuple of str
        Fields whose values are common knowledge, or ours, and were not found in a public document.
    """

    day_types: Scheme = "working"
    look_back_days: int = 45
    gap_days: int = 0
    completeness_ppm: int = 0
    clock_change: Literal["exclude", "map"] = "exclude"
    event_days: Literal["whole", "needed"] = "whole"
    rebound_steps: int = 8
    recovery_steps: int = 0
    fall_backs: tuple[str, ...] = ("widen", "borrow")
    widened_days: int = 90
    borrow_most: int = 5
    impact: Literal["quarter_hours", "energy"] = "quarter_hours"
    source: str = ""
    unverified: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ValidationError FX-B021 with every contradiction, or OptionError FX-E002 for an unknown name."""
        found = Findings("eligibility rule")
        names: dict[str, tuple[Any, ...]] = {
            "day_types": tuple(SCHEMES),
            "clock_change": ("exclude", "map"),
            "event_days": ("whole", "needed"),
            "impact": ("quarter_hours", "energy"),
            "fall_backs": FALL_BACKS,
        }
        for field, allowed in names.items():
            value = getattr(self, field)
            if value not in allowed:
                found.add(
                    "FX-E002", f"{field}={value!r} does not exist", hint=f"use one of {', '.join(map(str, allowed))}"
                )
        found.raise_errors(OptionError)
        for field in ("look_back_days", "gap_days", "completeness_ppm", "rebound_steps", "recovery_steps",
                      "widened_days", "borrow_most"):  # fmt: skip
            found.check_count(field, getattr(self, field), 0)
        found.raise_errors(ValidationError)
        checks = (
            (self.gap_days < self.look_back_days, "look_back_days must be larger than gap_days"),
            (self.completeness_ppm <= 1_000_000, "completeness_ppm must not be above 1000000"),
            (
                "widen" not in self.fall_backs or self.widened_days > self.look_back_days,
                "'widen' needs widened_days larger than look_back_days",
            ),
            (
                "borrow" not in self.fall_backs or 1 <= self.borrow_most <= MOST_BORROWED,
                f"'borrow' needs borrow_most in 1..{MOST_BORROWED}",
            ),
        )
        for holds, message in checks:
            if not holds:
                found.add("FX-B021", message)
        found.raise_errors(ValidationError)

    @property
    def after_steps(self) -> int:
        """Quarter-hours after an event that still belong to it."""
        return self.rebound_steps + self.recovery_steps

    @property
    def farthest_days(self) -> int:
        """Look-back that readings are needed for, widened if the rule widens."""
        return self.widened_days if "widen" in self.fall_backs else self.look_back_days

    @property
    def steps(self) -> tuple[str, ...]:
        """What the rule does, step by step, in words for a statement."""
        said = [f"like days ({self.day_types}) of the last {self.look_back_days} days"]
        if self.gap_days:
            said[0] += f", without the last {self.gap_days}"
        for fall_back in self.fall_backs:
            if fall_back == "widen":
                said.append(f"then like days of the last {self.widened_days} days")
            else:
                by = "touched quarter-hours" if self.impact == "quarter_hours" else "ordered energy"
                said.append(f"then at most {self.borrow_most} event days, those with the least {by} first")
        return (*said, "then no baseline")


_FALL_BACK = ("fall_backs", "widened_days", "borrow_most", "rebound_steps", "clock_change")
_NOTED = "eligibility as commonly described; see the source of the baseline preset"

#: Name of a baseline preset to its rule of eligibility. Those of days off (`rule_for`) go by the rule of their market's
#: preset of working days; nominated, fixed, same-day and control-group methods look at no past day.
ELIGIBILITY: MappingProxyType[str, EligibilityRule] = MappingProxyType(
    {
        "caiso_10_in_10": EligibilityRule(
            source=f"CAISO: weekdays, or weekends and holidays; {_NOTED}",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "caiso_5_in_10": EligibilityRule(
            source=f"CAISO residential: weekdays, or weekends and holidays; {_NOTED}",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "nyiso_5_of_10": EligibilityRule(
            "three",
            look_back_days=30,
            source=f"NYISO: weekdays, Saturdays, Sundays; {_NOTED}",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "pjm_4_of_5": EligibilityRule(
            "three",
            source=f"PJM: weekdays, Saturdays, Sundays and holidays; {_NOTED}",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "aemo_10_of_10": EligibilityRule(
            source=f"AEMO: business and non-business days; {_NOTED}",
            unverified=("look_back_days", *_FALL_BACK),
        ),
        "ercot_mid_8_of_10": EligibilityRule(
            source="ERCOT Demand Response Baseline Methodologies v19, 2019: like days; no look-back stated",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "elexon_bl01": EligibilityRule(
            look_back_days=60,
            source="Elexon Baselining Methodology Document v3 as described in a public report: 60 days, two day types",
            unverified=_FALL_BACK,
        ),
        "iso_ne_rolling": EligibilityRule(
            source=f"ISO New England: two day types; {_NOTED}",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "mid_8_of_10": EligibilityRule(
            look_back_days=60,
            source="UK ENA Open Networks default: two day types; no look-back found",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "edge": EligibilityRule(
            source="e-distribuzione EDGE: mean of historical data; which days was not found",
            unverified=("day_types", "look_back_days", *_FALL_BACK),
        ),
        "caiso_weather_match": EligibilityRule(
            look_back_days=90,
            fall_backs=("borrow",),
            source=f"CAISO: weekdays, or weekends and holidays, of 90 days; {_NOTED}",
            unverified=("day_types", "look_back_days", "fall_backs", "borrow_most", "rebound_steps", "clock_change"),
        ),
        "pjm_match_day": EligibilityRule(
            "three",
            fall_backs=("widen",),
            source="PJM Manual 11: days without event of the last 45; which day types was not found",
            unverified=("day_types", *_FALL_BACK),
        ),
        "degree_hours": EligibilityRule(
            "all",
            look_back_days=90,
            fall_backs=(),
            source="ERCOT Demand Response Baseline Methodologies v19, 2019, for the family: all days, told apart by "
            "`day_off`",
            unverified=("day_types", "look_back_days", "fall_backs", "rebound_steps", "clock_change"),
        ),
        "high_5_of_10": EligibilityRule(source="flexcore: working days, or others, of the last 45 days"),
        "high_5_of_10_unadjusted": EligibilityRule(source="flexcore: as high_5_of_10"),
        "low_5_of_10": EligibilityRule(source="flexcore: mirror of high_5_of_10"),
        "rolling_10": EligibilityRule(
            source="Lind et al. 2023, doi 10.1016/j.jup.2023.101688: like days; no look-back stated",
            unverified=("look_back_days", *_FALL_BACK),
        ),
    }
)

#: Baseline preset to the one that the same market uses on other than working days.
_OTHER_DAYS = {
    "caiso_10_in_10": "caiso_4_in_4_weekend",
    "caiso_5_in_10": "caiso_3_in_5_weekend",
    "nyiso_5_of_10": "nyiso_2_of_3_weekend",
    "pjm_4_of_5": "pjm_2_of_3_weekend",
    "elexon_bl01": "elexon_bl01_non_working",
}


def eligibility_rule(rule: str | EligibilityRule) -> EligibilityRule:
    """Return a rule by the name of its baseline preset, or the rule itself, checked.

    Raises
    ------
    OptionError, ValidationError
        FX-E002 an unknown name, FX-B021 a rule that contradicts itself.
    """
    if isinstance(rule, EligibilityRule):
        rule.check()
        return rule
    check_option("rule", rule, tuple(ELIGIBILITY))
    return ELIGIBILITY[rule]


def rule_for(preset: str | BaselineRule, day_type: str) -> BaselineRule:
    """Return the baseline rule of a preset for a day of that type: several markets use fewer days at weekends.

    Parameters
    ----------
    preset : str or BaselineRule
        A name in `PRESETS`; a rule of one's own is the same on all days.
    day_type : str
        As `Calendar.day_type` gives it. All but "working", "any" and "monday" to "friday" are other days.

    Raises
    ------
    OptionError
        FX-E002 an unknown preset or day type.
    """
    check_option("day_type", day_type, tuple(dict.fromkeys(name for names in SCHEMES.values() for name in names)))
    if isinstance(preset, BaselineRule):
        return preset
    check_option("preset", preset, tuple(PRESETS))
    other = day_type in ("non_working", "saturday", "sunday")
    return PRESETS[_OTHER_DAYS.get(preset, preset) if other else preset]
