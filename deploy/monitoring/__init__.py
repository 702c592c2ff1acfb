"""Recording rules, alerts and their thresholds. `python -m deploy.monitoring` writes what Prometheus loads."""
