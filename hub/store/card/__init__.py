"""Model cards and exported PEFT folders."""
