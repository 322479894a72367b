"""Monitoring rules: when a POD deviates and when an aggregate raises an alarm, with the presets and their sources."""

from dataclasses import dataclass
from typing import Literal

from flexcore.errors import Findings, OptionError, ValidationError

_ONE = 1_000_000


@dataclass(frozen=True, slots=True)
class MonitorRule:
    """Every number that decides a flag or an alarm; whole numbers only.

    Attributes
    ----------
    short_ppm, over_ppm : int
        A POD is short below this part of its order, and over above that one. [parts per million]
    margin_w : int
        Deviations up to this power are none, whatever their ratio: small orders drown in the load's own noise. [W]
    answer_ppm : int
        A POD answers if it delivers this part of its order. [parts per million]
    silent_after : int
        Quarter-hours in a row without an answer after which a POD is not answering; 1..255.
    stale_after : int
        Quarter-hours in a row without a reading after which its readings are stale, ordered or not; 1..255.
    warning_ppm, critical_ppm : int
        An aggregate is below order, or far below, under this ratio of delivered to ordered power. [parts per million]
    clear_ppm : int
        It is back from this ratio on; not below `warning_ppm`. [parts per million]
    raise_after, clear_after : int
        Quarter-hours in a row that it takes to raise an alarm, and to clear it or ease it from critical to warning.
    cap_ppm : int
        Part of the order up to which a quarter-hour counts in the ratio of the event. [parts per million]
    netting : {"aggregate", "pod"}
        PODs that move the wrong way count against their aggregate, or each counts as zero.
    source : str
        Where the rule comes from.
    unverified : tuple of str
        Fields whose numbers were not found in a public document.
    """

    short_ppm: int = 950_000
    over_ppm: int = 1_200_000
    margin_w: int = 100
    answer_ppm: int = 100_000
    silent_after: int = 2
    stale_after: int = 4
    warning_ppm: int = 900_000
    critical_ppm: int = 500_000
    clear_ppm: int = 950_000
    raise_after: int = 2
    clear_after: int = 2
    cap_ppm: int = _ONE
    netting: Literal["aggregate", "pod"] = "aggregate"
    source: str = ""
    unverified: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ValidationError FX-B070 with every contradiction, or OptionError FX-E002 for an unknown netting."""
        found = Findings("monitor rule")
        if self.netting not in ("aggregate", "pod"):
            found.add("FX-E002", f"netting={self.netting!r} does not exist", hint="use 'aggregate' or 'pod'")
        found.raise_errors(OptionError)
        for field in self.__slots__:
            value = getattr(self, field)
            if field not in ("netting", "source", "unverified") and (type(value) is not int or abs(value) >= 1 << 31):
                found.add("FX-B070", f"{field} is {value!r}, expected a whole number below 2^31")
        found.raise_errors(ValidationError)
        checks = (
            (0 <= self.short_ppm <= _ONE, "short_ppm must lie in 0..1,000,000"),
            (_ONE <= self.over_ppm <= 10 * _ONE, "over_ppm must lie in 1,000,000..10,000,000"),
            (0 <= self.margin_w < 2**31, "margin_w must not be negative"),
            (0 <= self.answer_ppm <= _ONE, "answer_ppm must lie in 0..1,000,000"),
            (1 <= self.silent_after <= 255 and 1 <= self.stale_after <= 255, "silent_after, stale_after lie in 1..255"),
            (
                0 <= self.critical_ppm <= self.warning_ppm <= self.clear_ppm <= _ONE,
                "0 <= critical_ppm <= warning_ppm <= clear_ppm <= 1,000,000 must hold",
            ),
            (self.raise_after >= 1 and self.clear_after >= 1, "raise_after and clear_after start at 1"),
            (0 <= self.cap_ppm <= 2 * _ONE, "cap_ppm must lie in 0..2,000,000"),
        )
        for holds, message in checks:
            if not holds:
                found.add("FX-B070", message)
        found.raise_errors(ValidationError)


_TIMES = ("margin_w", "answer_ppm", "silent_after", "stale_after", "raise_after", "clear_after")

#: Name to rule. No public document gives the whole of one; what is taken from none is said to be unverified.
MONITOR_RULES: dict[str, MonitorRule] = {
    "flexcore": MonitorRule(source="flexcore: default of the study cities, at the 5 % tolerance of their terms"),
    "uvam": MonitorRule(
        short_ppm=900_000,
        clear_ppm=900_000,
        raise_after=1,
        source="Terna UVAM reliability test: passed above 90 % of the order",
        unverified=("over_ppm", "critical_ppm", "clear_ppm", "cap_ppm", *_TIMES),
    ),
    "uk_dso": MonitorRule(
        warning_ppm=950_000,
        critical_ppm=630_000,
        source="UK DSO services: full pay from 95 % of the order, none below 63 %",
        unverified=("short_ppm", "over_ppm", "warning_ppm", "critical_ppm", "clear_ppm", *_TIMES),
    ),
    "neso_dfs": MonitorRule(
        short_ppm=500_000,
        warning_ppm=500_000,
        critical_ppm=250_000,
        clear_ppm=500_000,
        cap_ppm=1_200_000,
        source="NESO Demand Flexibility Service proposal: reduced pay below 50 %, none below 25 %, cap 120 %",
        unverified=("over_ppm", *_TIMES),
    ),
    "romeflex": MonitorRule(
        source="BeFlexible D4.1 6.4, 7.4: set-points to the PODs, settlement looks at deviations from them; no numbers",
        unverified=("short_ppm", "over_ppm", "warning_ppm", "critical_ppm", "clear_ppm", "cap_ppm", *_TIMES),
    ),
}
