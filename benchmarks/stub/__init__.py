"""Put on PYTHONPATH, this folder replaces the NVML bindings by two made-up GPUs."""
