"""``/metrics`` in Prometheus' text format (0.0.4): this process and every live media node."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Final

from coordinator.center import Center
from coordinator.errors import TertuliaError
from coordinator.ids import NodeId
from coordinator.nodes import Nodes
from coordinator.requests import CollectMetrics, MetricFamily, Metrics, Sample
from web.tally import Tally

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
ASK_TIMEOUT_S: Final = 1.0
"""A scrape waits ten seconds by default; a node answers within milliseconds."""
MAX_NODES: Final = 256
KEPT_S: Final = 0.5
"""Scrapes closer together get the same text: nobody makes us ask all nodes at will."""

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})

Source = Callable[[], Iterable[MetricFamily]]


class MetricsPage:
    """Gathers and renders. *sources* are this process's own."""

    def __init__(self, center: Center, nodes: Nodes, sources: Iterable[Source]) -> None:
        self._center: Final = center
        self._nodes: Final = nodes
        self._sources: Final = tuple(sources)
        self._asked: Final = Tally(
            "tertulia_metrics_nodes_total", "Media nodes asked for metrics, by outcome."
        )
        self._gathering = asyncio.Lock()
        self._kept = b""
        self._kept_at_s = float("-inf")

    async def text(self) -> bytes:
        async with self._gathering:
            if time.monotonic() - self._kept_at_s > KEPT_S:
                self._kept = (await self._gather()).encode()
                self._kept_at_s = time.monotonic()
            return self._kept

    async def _gather(self) -> str:
        try:
            nodes = [node.id for node in await self._nodes.list("media")][:MAX_NODES]
        except TertuliaError:
            nodes = []
        answers = await asyncio.gather(*(self._ask(node) for node in nodes))
        own = [family for source in self._sources for family in source()]
        pages = [
            (self._center.node_id, [*own, self._asked.family()]),
            *zip(nodes, answers, strict=True),
        ]
        return render(merge(pages))

    async def _ask(self, node: NodeId) -> list[MetricFamily]:
        try:
            reply = await self._center.request(node, CollectMetrics(), timeout_s=ASK_TIMEOUT_S)
        except TertuliaError as error:
            self._asked.add(outcome=error.code)
            log.info("%s gave no metrics: %s", node, error.code)
            return []
        assert isinstance(reply, Metrics)
        self._asked.add(outcome="ok")
        return list(reply.families)


def merge(pages: Iterable[tuple[NodeId, Iterable[MetricFamily]]]) -> list[MetricFamily]:
    """One family per name, each sample labelled with its node. A family whose kind differs from
    the first one's of that name is left out: a page that contradicts itself is refused whole."""
    merged: dict[str, tuple[MetricFamily, list[Sample]]] = {}
    for node, families in pages:
        for family in families:
            if _NAME.fullmatch(family.name) is None:
                continue
            first, samples = merged.setdefault(family.name, (family, []))
            if first.kind == family.kind:
                samples += [
                    Sample(labels={**sample.labels, "node": node}, value=sample.value)
                    for sample in family.samples
                ]
    return [
        MetricFamily(name=name, kind=first.kind, help=first.help, samples=tuple(samples))
        for name, (first, samples) in sorted(merged.items())
    ]


def render(families: Iterable[MetricFamily]) -> str:
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for sample in family.samples:
            labels = ",".join(
                f'{name}="{value.translate(_ESCAPES)}"'
                for name, value in sorted(sample.labels.items())
                if _NAME.fullmatch(name)
            )
            lines.append(f"{family.name}{{{labels}}} {sample.value:.17g}")
    return "\n".join(lines) + "\n"
