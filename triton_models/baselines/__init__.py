"""Honest baselines: what a network has to beat before it may say that it forecasts."""
