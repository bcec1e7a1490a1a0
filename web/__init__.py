"""HTTP: pages, admin API, live delivery, health and metrics."""
