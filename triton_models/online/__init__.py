"""What learns from each outcome as it becomes known: weights of experts, calibration; see the README."""
