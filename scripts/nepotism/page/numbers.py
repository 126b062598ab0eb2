"""Numbers of a page: what stands in a table, and what people are shown of it."""

import math
from dataclasses import dataclass

MINUS, MISSING = "\u2212", "\u2013"


@dataclass(frozen=True)
class Number:
    """A number of a table.

    Attributes:
        raw: as it stands there; empty where the table has none.
        digits: significant ones that are shown.
        is_log: whether it is shown as what it is the natural logarithm of, a factor.
    """

    raw: str
    digits: int = 3
    is_log: bool = False

    def __bool__(self) -> bool:
        return self.raw != ""

    def __str__(self) -> str:
        """What is shown: rounded, and a whole number as it is."""
        if not self.raw:
            return ""
        value = float(self.raw)
        if self.is_log:
            value = math.exp(value) if value < 700 else math.inf
        if math.isnan(value):
            return "not defined"
        return self._rounded(value).replace("-", MINUS).replace("inf", "∞")

    def _rounded(self, value: float) -> str:
        if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
            return f"{int(value):,}"
        if 10**self.digits <= abs(value) < 1e9:
            return f"{value:,.0f}"
        return f"{value:.{self.digits}g}"
