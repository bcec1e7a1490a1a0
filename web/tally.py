"""Counters and gauges of this process, in the shape that travels to ``/metrics``."""

from coordinator.requests import MetricFamily, Sample


class Tally:
    """One metric family. The label values that callers pass must come from a small set."""

    def __init__(self, name: str, help_text: str, *, kind: str = "counter") -> None:
        self._name = name
        self._help = help_text
        self._kind = kind
        self._values: dict[tuple[tuple[str, str], ...], float] = {}

    def add(self, amount: float = 1, **labels: str) -> None:
        key = tuple(sorted(labels.items()))
        self._values[key] = self._values.get(key, 0) + amount

    def value(self, **labels: str) -> float:
        return self._values.get(tuple(sorted(labels.items())), 0)

    def family(self) -> MetricFamily:
        values = self._values or {(): 0.0}
        return MetricFamily(
            name=self._name,
            kind=self._kind,
            help=self._help,
            samples=tuple(
                Sample(labels=dict(labels), value=value) for labels, value in values.items()
            ),
        )
