"""Training methods: what each one adds to a base model, one file a method; see `registry`."""
