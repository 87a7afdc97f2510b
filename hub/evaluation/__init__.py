"""Evaluation: predictions on rows, metrics, confidence intervals, calibration, comparison."""
