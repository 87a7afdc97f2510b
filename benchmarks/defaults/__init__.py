"""How close the defaults of `hub train` come to full fine-tuning, on real sets of several sizes."""
