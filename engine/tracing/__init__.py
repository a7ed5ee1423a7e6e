"""A step of a plan on tensors without memory: what it allocates and computes, counted as CUDA would do it."""
