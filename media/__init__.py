"""Everything that touches media. Imports the coordinator only."""
