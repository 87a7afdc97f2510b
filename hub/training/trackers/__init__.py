"""Experiment trackers: TensorBoard, MLflow and trackio receive the logs of a run, without texts of rows."""
