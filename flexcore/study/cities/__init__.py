"""Cities to study: real networks and profiles with a seeded population of customers, devices and providers.

`simbench(code)` lays PODs, flexible devices, BSPs, aggregates and offers on a SimBench network. What is measured,
what is drawn and with which numbers is written in docs/explanation/city.md; `City.growth_report` has the figures of
one city.
"""

from flexcore.study.cities.build import DEFAULT_CODE, DEFAULT_DAY, simbench, tiny
from flexcore.study.cities.growth import Growth
from flexcore.study.cities.portfolio import Participation

__all__ = ["DEFAULT_CODE", "DEFAULT_DAY", "Growth", "Participation", "simbench", "tiny"]
