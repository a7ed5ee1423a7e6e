"""What a run will take: counts, the machine, throughput and the forecast."""
