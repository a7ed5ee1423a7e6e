"""Tensors of single files that are no weights: other programs look for them."""

ZERO_SNR = "ztsnr"
"""An empty tensor by which ComfyUI knows that the schedule ends without any signal."""
LOGIT_SCALE = "logit_scale"
LN_100 = 4.6052  # where CLIP's training ends
V_PREDICTION = "v_pred"
"""An empty tensor by which ComfyUI knows that the model predicts v."""
