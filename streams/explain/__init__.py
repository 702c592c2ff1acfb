"""Explanations of forecasts: of one on the topics, and of shocks of the built-in market against their true cause."""
