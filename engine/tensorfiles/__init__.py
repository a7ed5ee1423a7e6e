"""Files of tensors, whatever they mean: safetensors headers and files, pickles read with weights_only."""
