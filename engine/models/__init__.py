"""What is known of a base model without torch: families, blocks, layers, key maps, detection."""
