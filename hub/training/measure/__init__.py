"""What is measured of a version: figures, their intervals, calibration, slices, and comparisons."""
