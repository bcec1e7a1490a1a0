"""Nodes: who lives, where rooms go, and who clears up after the dead."""

from coordinator.reaper import Reaper
from coordinator.registry import NodeInfo, NodeKind, NodeLease, Nodes

__all__ = ["NodeInfo", "NodeKind", "NodeLease", "Nodes", "Reaper"]
