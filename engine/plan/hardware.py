"""The plan's table [hardware]: where a run computes, and what it does to need less memory."""

from __future__ import annotations

from engine.plan.fields import Section, option


class Hardware(Section):
    """Where and how thriftily it runs."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")
    gradient_checkpointing: bool = option(False, "less VRAM for about 30 % more time")
    threads: int = option(0, "CPU threads; 0 lets torch decide", ge=0, le=1024, advanced=True)
    channels_last: bool = option(True, "convolution layout that tensor cores like (CUDA only)", advanced=True)
    compile: bool = option(False, "torch.compile the denoiser (slow first step)", advanced=True)
    deterministic: bool = option(
        False, "only deterministic CUDA kernels, for bit-equal repeats", advanced=True
    )
