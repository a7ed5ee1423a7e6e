"""Which class does which method: one line each."""

from __future__ import annotations

from engine.errors import UserError
from engine.methods.base import Method
from engine.methods.controlnet import Controlnet
from engine.methods.dreambooth import Dreambooth
from engine.methods.full import Full
from engine.methods.hypernetwork import Hypernetwork
from engine.methods.lora import Lora
from engine.methods.scratch import Scratch
from engine.methods.style_lora import StyleLora
from engine.methods.t2i_adapter import T2iAdapter
from engine.methods.textual_inversion import TextualInversion
from engine.plan.methods.controlnet import ControlnetOptions
from engine.plan.methods.dreambooth import DreamboothOptions
from engine.plan.methods.full import FullOptions
from engine.plan.methods.hypernetwork import HypernetworkOptions
from engine.plan.methods.lora import LoraOptions
from engine.plan.methods.scratch import ScratchOptions
from engine.plan.methods.style_lora import StyleLoraOptions
from engine.plan.methods.t2i_adapter import T2iAdapterOptions
from engine.plan.methods.textual_inversion import TextualInversionOptions
from engine.plan.schema import Plan


def make_method(plan: Plan) -> Method:
    """The plan's method, with its own options."""
    options = plan.options
    if isinstance(options, StyleLoraOptions):
        return StyleLora(options, plan.train.learning_rate, plan.seed)
    if isinstance(options, LoraOptions):
        return Lora(options, plan.train.learning_rate, plan.seed)
    if isinstance(options, FullOptions):
        learning_rate = options.text_encoder_learning_rate or plan.train.learning_rate / 2
        return Full(learning_rate if options.text_encoder else None, options.freeze)
    if isinstance(options, DreamboothOptions):
        return Dreambooth(options, plan.train.learning_rate)
    if isinstance(options, ScratchOptions):
        return Scratch(options, plan.seed)
    if isinstance(options, HypernetworkOptions):
        return Hypernetwork(options, plan.seed)
    if isinstance(options, TextualInversionOptions):
        return TextualInversion(options, plan.data.trigger, plan.seed)
    if isinstance(options, ControlnetOptions):
        return Controlnet(options, plan.seed, plan.hardware.gradient_checkpointing)
    if isinstance(options, T2iAdapterOptions):
        return T2iAdapter(options, plan.seed)
    raise UserError(f"method {plan.method!r} is not built into this version", fix="choose another method")
