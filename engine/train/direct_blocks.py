"""The shorter ways through diffusers' blocks; see `engine.train.direct_forward`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch.nn.functional as F
from diffusers.models import activations, attention, attention_processor, resnet
from torch import Tensor, nn

# The classes keep the names of those that they stand for: regional compilation and block swap go by them.


class ResnetBlock2D(resnet.ResnetBlock2D):  # type: ignore[misc]
    """A residual block of the denoiser: time is added, nothing is resized, scaled or dropped."""

    def forward(self, input_tensor: Tensor, temb: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x [b, c, h, w] and the embedded time [b, t] to [b, c', h, w]."""
        x = input_tensor
        hidden = self.conv1(self.nonlinearity(self.norm1(x)))
        hidden = hidden + cast(Any, self.time_emb_proj)(self.nonlinearity(temb))[:, :, None, None]
        hidden = self.conv2(self.nonlinearity(self.norm2(hidden)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x.contiguous() if self.training else x)
        return cast(Tensor, x + hidden)

    @staticmethod
    def fits(block: Any) -> bool:
        """Whether the block's settings leave this way only."""
        resized = block.upsample is not None or block.downsample is not None
        timed = block.time_emb_proj is not None and block.time_embedding_norm == "default"
        return bool(
            timed and not resized and not block.skip_time_act and _undropped(block.dropout)
            and block.output_scale_factor == 1
        )  # fmt: skip


class Attention(attention_processor.Attention):  # type: ignore[misc]
    """Attention by torch's fused kernels, without masks, norms of queries, or a residual."""

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **cross_attention_kwargs: Any,
    ) -> Tensor:
        """x [b, n, c] to [b, n, c], attending to itself or to a context [b, m, d]."""
        if attention_mask is not None or cross_attention_kwargs or hidden_states.ndim != 3:
            given = super().forward(
                hidden_states, encoder_hidden_states, attention_mask, **cross_attention_kwargs
            )
            return cast(Tensor, given)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        size, heads = hidden_states.shape[0], self.heads
        query, key, value = self.to_q(hidden_states), self.to_k(context), self.to_v(context)
        width = key.shape[-1]
        query, key, value = (
            each.view(size, -1, heads, width // heads).transpose(1, 2) for each in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, cast(Any, self.to_out)[0](mixed.transpose(1, 2).reshape(size, -1, width)))

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether the layer's settings leave this way only."""
        odd = (layer.spatial_norm, layer.group_norm, layer.norm_q, layer.norm_k, layer.norm_cross)
        plain = type(layer.processor) is attention_processor.AttnProcessor2_0
        return bool(
            plain and all(each is None for each in odd) and not layer.residual_connection
            and layer.rescale_output_factor == 1 and _undropped(layer.to_out[1])
        )  # fmt: skip


class GEGLU(activations.GEGLU):  # type: ignore[misc]
    """Shazeer 2020 (arXiv:2002.05202)."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x [..., c] to [..., c']."""
        hidden, gate = self.proj(hidden_states).chunk(2, dim=-1)
        return cast(Tensor, hidden * F.gelu(gate))

    @staticmethod
    def fits(_: Any) -> bool:
        """Always."""
        return True


class FeedForward(attention.FeedForward):  # type: ignore[misc]
    """An activation with its projection, and the projection back."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x [..., c] to [..., c]."""
        net = cast(Any, self.net)
        return cast(Tensor, net[2](net[0](hidden_states)))

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether the layer's settings leave this way only."""
        return len(layer.net) == 3 and _undropped(layer.net[1])


class BasicTransformerBlock(attention.BasicTransformerBlock):  # type: ignore[misc]
    """Attention to itself, attention to the words, feed-forward; a layer norm before each."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """x [b, n, c] to [b, n, c], with a context [b, m, d]."""
        masked = attention_mask is not None or encoder_attention_mask is not None
        if masked or cross_attention_kwargs:
            given = super().forward(
                hidden_states, attention_mask, encoder_hidden_states, encoder_attention_mask,
                timestep, cross_attention_kwargs, class_labels, added_cond_kwargs,
            )  # fmt: skip
            return cast(Tensor, given)
        hidden = self.attn1(self.norm1(hidden_states)) + hidden_states
        hidden = cast(Any, self.attn2)(cast(Any, self.norm2)(hidden), encoder_hidden_states) + hidden
        return cast(Tensor, self.ff(cast(Any, self.norm3)(hidden)) + hidden)

    @staticmethod
    def fits(block: Any) -> bool:
        """Whether the block's settings leave this way only."""
        plain = block.norm_type == "layer_norm" and block.pos_embed is None and block._chunk_size is None
        return bool(plain and block.attn2 is not None and not block.only_cross_attention)


BLOCKS: Mapping[type, Any] = {
    attention.BasicTransformerBlock: BasicTransformerBlock,
    attention.FeedForward: FeedForward,
    activations.GEGLU: GEGLU,
    attention_processor.Attention: Attention,
    resnet.ResnetBlock2D: ResnetBlock2D,
}
"""Of each class the one that goes the shorter way."""


def _undropped(dropout: nn.Module) -> bool:
    return isinstance(dropout, nn.Dropout) and dropout.p == 0
