"""Routes of the Open Inference Protocol v2, for clients of KServe, Triton and MLServer."""
