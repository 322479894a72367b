"""Day types: which days are alike, by the day of the week and the holidays of a country, a province and a town."""

import datetime as dt
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, MissingExtraError, TimeSeriesError, ValidationError, check_option
from flexcore.market_day import MarketDay

#: How days are told apart: working or not; Monday to Friday, Saturday, Sunday and holidays; each day of the week with
#: holidays as Sundays; not at all.
Scheme = Literal["working", "three", "weekday", "all"]
SCHEMES: dict[str, tuple[str, ...]] = {
    "working": ("working", "non_working"),
    "three": ("working", "saturday", "sunday"),
    "weekday": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "all": ("any",),
}

_SATURDAY, _SUNDAY = 5, 6


@functools.cache
def _holidays_of(country: str, subdivision: str | None, year: int) -> frozenset[dt.date]:
    """Public holidays of one year by the `holidays` library."""
    try:
        import holidays
    except ImportError as error:
        raise MissingExtraError("holidays", "calendar") from error
    found = Findings("calendar")
    try:
        # no default language or category of the machine enters: only the dates are used
        known = holidays.country_holidays(country, subdiv=subdivision, years=year)
    except (NotImplementedError, AttributeError, TypeError):
        place = repr(country) if subdivision is None else f"{subdivision!r} in {country!r}"
        found.add("FX-B020", f"the holidays of {place} are not known", hint="pass the dates: Calendar(holidays=[...])")
        found.raise_errors()
        raise
    if not known.start_year <= year <= known.end_year:
        # the library answers such a year with no holiday at all
        found.add("FX-B020", f"the holidays of {country!r} are known for {known.start_year}..{known.end_year} only")
        found.raise_errors()
    return frozenset(known)


def _dates(values: Iterable[Any], name: str) -> tuple[frozenset[dt.date], frozenset[tuple[int, int]]]:
    """Split dates, 'YYYY-MM-DD' and 'MM-DD' into single dates and (month, day) of every year."""
    single, yearly, bad = set(), set(), []
    given = [values] if isinstance(values, str | dt.date) else list(values)
    for row, value in enumerate(given):
        try:
            if isinstance(value, dt.date):
                single.add(value.date() if isinstance(value, dt.datetime) else value)
            elif len(value) == len("MM-DD"):
                date = dt.date.fromisoformat(f"2000-{value}")  # a leap year
                yearly.add((date.month, date.day))
            else:
                single.add(dt.date.fromisoformat(value))
        except (TypeError, ValueError):
            bad.append(row)
    found = Findings(name)
    if bad:
        shown = [repr(given[row]) for row in bad]
        hint = "use datetime.date, 'YYYY-MM-DD' or, for every year, 'MM-DD'"
        found.add("FX-T005", f"{len(bad)} values are not dates", rows=bad, ids=shown, hint=hint)
        found.raise_errors(TimeSeriesError)
    return frozenset(single), frozenset(yearly)


@dataclass(frozen=True, slots=True, init=False)
class Calendar:
    """The holidays of a place.

    Parameters
    ----------
    country : str, optional
        Code of the country ("IT"); its public holidays come from the `holidays` library (extra `calendar`).
    subdivision : str, optional
        Region, province or state as that library names it; "RM" adds 29 June, the patron saints' day of Rome.
    holidays : iterable of date or str, optional
        The holidays themselves, instead of a country; no library is needed.
    extra_holidays : iterable of date or str
        Further days that count as holidays: "YYYY-MM-DD", or "MM-DD" for every year.

    Raises
    ------
    MissingExtraError
        FX-E001 if a country is given and `holidays` is not installed.
    ValidationError
        FX-B020 an unknown country or subdivision, neither or both of `country` and `holidays`, or later a year whose
        holidays the library does not know.
    TimeSeriesError
        FX-T005 a value that is no date.
    """

    country: str | None
    subdivision: str | None
    dates: frozenset[dt.date] = field(repr=False)
    yearly: frozenset[tuple[int, int]] = field(repr=False)

    def __init__(
        self,
        country: str | None = None,
        *,
        subdivision: str | None = None,
        holidays: Iterable[dt.date | str] | None = None,
        extra_holidays: Iterable[dt.date | str] = (),
    ) -> None:
        if (country is None) == (holidays is None) or (subdivision is not None and country is None):
            found = Findings("calendar")
            hint = "Calendar('IT', subdivision='RM') or Calendar(holidays=['2026-01-01', ...])"
            found.add("FX-B020", "a calendar needs either a country or the dates of its holidays", hint=hint)
            found.raise_errors(ValidationError)
        if country is not None:
            _holidays_of(country, subdivision, 2000)  # what is not known or not installed is said here, not later
        single, yearly = _dates(holidays if holidays is not None else (), "holidays")
        more_single, more_yearly = _dates(extra_holidays, "extra_holidays")
        object.__setattr__(self, "country", country)
        object.__setattr__(self, "subdivision", subdivision)
        object.__setattr__(self, "dates", single | more_single)
        object.__setattr__(self, "yearly", yearly | more_yearly)

    def is_holiday(self, day: MarketDay | dt.date) -> bool:
        """Tell whether a day is a public or an extra holiday; a Sunday that is nothing else is none."""
        date = day.date if isinstance(day, MarketDay) else day
        if date in self.dates or (date.month, date.day) in self.yearly:
            return True
        return self.country is not None and date in _holidays_of(self.country, self.subdivision, date.year)

    def day_type(self, day: MarketDay | dt.date, scheme: Scheme = "working") -> str:
        """Return the type of a day, one of `SCHEMES[scheme]`.

        Raises
        ------
        OptionError
            FX-E002 a scheme of that name does not exist.
        """
        check_option("scheme", scheme, tuple(SCHEMES))
        date = day.date if isinstance(day, MarketDay) else day
        # a holiday is a Sunday whatever its day of the week, a Saturday included
        weekday = _SUNDAY if self.is_holiday(date) else date.weekday()
        if scheme == "all":
            return "any"
        if scheme == "working":
            return "non_working" if weekday >= _SATURDAY else "working"
        if scheme == "three" and weekday < _SATURDAY:
            return "working"
        return SCHEMES["weekday"][weekday]

    def like_days(self, days: Sequence[MarketDay], day: MarketDay, scheme: Scheme = "working") -> npt.NDArray[np.bool_]:
        """Mark the days that are of the same type as `day`, shape (n_days,)."""
        wanted = self.day_type(day, scheme)
        return np.array([self.day_type(past, scheme) == wanted for past in days], np.bool_)
