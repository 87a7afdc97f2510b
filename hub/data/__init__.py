"""Training data: from raw rows to cleaned, split and tokenized examples."""
