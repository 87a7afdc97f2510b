"""Experiment trackers: TensorBoard, MLflow and trackio are told what a run logs, and no text of a row."""
