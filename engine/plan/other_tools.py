"""Names of other training tools' options and values, and what a plan has in their place.

Sources: the arguments of kohya's sd-scripts, of diffusers' example scripts, and OneTrainer's and ai-toolkit's
config files.
"""

from __future__ import annotations

from collections.abc import Collection

# {method} stands for the plan's own method. A text with a blank says why there is none.
KEYS: dict[str, str] = {
    "network_dim": "{method}.rank",
    "lora_rank": "{method}.rank",
    "network_alpha": "{method}.alpha",
    "lora_alpha": "{method}.alpha",
    "network_dropout": "{method}.dropout",
    "network_train_unet_only": "{method}.text_encoder",
    "train_text_encoder": "{method}.text_encoder",
    "text_encoder_lr": "{method}.text_encoder_learning_rate",
    "placeholder_token": "{method}.tokens",
    "token_string": "{method}.tokens",
    "initializer_token": "{method}.initial",
    "init_word": "{method}.initial",
    "num_vectors": "{method}.vectors",
    "num_vectors_per_token": "{method}.vectors",
    "conditioning_data_dir": "{method}.condition_path",
    "pretrained_model_name_or_path": "base.model",
    "base_model": "base.model",
    "vae_path": "base.vae",
    "train_data_dir": "data.path",
    "instance_data_dir": "data.path",
    "image_dir": "data.path",
    "folder_path": "data.path",
    "dataset_name": "data.path",
    "instance_prompt": "data.trigger",
    "trigger_word": "data.trigger",
    "reg_data_dir": "data.class_path",
    "class_data_dir": "data.class_path",
    "num_class_images": "data.class_count",
    "prior_loss_weight": "data.class_weight",
    "enable_bucket": "data.bucket",
    "flip_aug": "data.flip",
    "random_flip": "data.flip",
    "num_repeats": "data.repeats",
    "dataset_repeats": "data.repeats",
    "shuffle_caption": "data.shuffle_tags",
    "keep_tokens": "data.keep_tags",
    "keep_tokens_separator": "captions.keep_separator",
    "caption_tag_dropout_rate": "captions.tag_dropout",
    "tag_dropout_enable": "captions.tag_dropout",
    "caption_prefix": "captions.prefix",
    "caption_suffix": "captions.suffix",
    "enable_wildcard": "captions.wildcards",
    "learnable_property": "captions.templates",
    "use_object_template": "captions.templates",
    "use_style_template": "captions.templates",
    "caption_dropout_rate": "data.caption_dropout",
    "proportion_empty_prompts": "data.caption_dropout",
    "cache_latents_to_disk": "data.cache_latents",
    "cache_text_encoder_outputs": "data.cache_text",
    "max_train_steps": "train.steps",
    "train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "lr": "train.learning_rate",
    "unet_lr": "train.learning_rate",
    "lr_scheduler": "train.schedule",
    "lr_warmup_steps": "train.warmup",
    "lr_scheduler_num_cycles": "train.cycles",
    "lr_num_cycles": "train.cycles",
    "lr_scheduler_power": "train.power",
    "lr_power": "train.power",
    "lr_scheduler_min_lr_ratio": "train.end_share",
    "learning_rate_min_factor": "train.end_share",
    "mixed_precision": "train.precision",
    "dtype": "train.precision",
    "use_ema": "train.ema",
    "ema_decay": "train.ema",
    "max_grad_norm": "train.clip_norm",
    "optimizer_type": "optimizer.name",
    "full_bf16": "train.weights",
    "stochastic_rounding": "train.weights",
    "fused_backward_pass": "hardware.fused_backward",
    "fused_back_pass": "hardware.fused_backward",
    "fused_optimizer_groups": "hardware.fused_backward",
    "loss_type": "objective.loss",
    "snr_gamma": "objective.min_snr_gamma",
    "v_parameterization": "base.prediction",
    "clip_skip": "base.clip_skip",
    "max_token_length": "captions.max_tokens",
    "sample_every_n_steps": "samples.every",
    "sample_prompts": "samples.prompts",
    "validation_prompt": "samples.prompts",
    "validation_steps": "samples.every",
    "sample_every": "samples.every",
    "save_every_n_steps": "checkpoints.every",
    "checkpointing_steps": "checkpoints.every",
    "save_every": "checkpoints.every",
    "checkpoints_total_limit": "checkpoints.keep",
    "max_step_saves_to_keep": "checkpoints.keep",
    "output_name": "name",
    "save_precision": "output.dtype",
    "save_model_as": "output.formats",
    "seed_everything": "seed",
    "caption_extension": "no key is needed: captions are read from .txt and .caption files beside the pictures",
    "caption_ext": "no key is needed: captions are read from .txt and .caption files beside the pictures",
    "output_dir": "a plan names no folder for its run: give it to sdtrain run --dir",
    "logging_dir": "a run keeps its figures in its own events.jsonl",
    "resume": "a run goes on with sdtrain resume RUN",
    "resume_from_checkpoint": "a run goes on with sdtrain resume RUN",
    "max_train_epochs": "epochs are not offered: count updates, train.steps",
    "num_train_epochs": "epochs are not offered: count updates, train.steps",
    "epochs": "epochs are not offered: count updates, train.steps",
    "network_module": "set method, and lora.kind for LoHa and LoKr",
    "network_weights": "going on from a LoRA's file is not offered",
    "xformers": "no key is needed: torch's own fused attention is always used",
    "sdpa": "no key is needed: torch's own fused attention is always used",
    "enable_xformers_memory_efficient_attention": "no key is needed: torch's own fused attention is always used",
    "multires_noise_iterations": "it is not offered: objective.noise_offset is",
}

VALUES: dict[str, dict[str, str]] = {
    "train.schedule": {
        "cosine_with_min_lr": 'set "cosine", and the share of the rate that it ends at in train.end_share',
        "cosine_annealing": 'set "cosine"',
        "cosine_annealing_with_restarts": 'set "cosine_with_restarts"',
        "constant_with_warmup": 'set "constant", and the steps of warm-up in train.warmup',
        "inverse_square_root": 'set "inverse_sqrt"',
        "wsd": 'set "warmup_stable_decay"',
        "adafactor": 'it is not offered: set "constant"',
    },
    "optimizer.name": {
        "adamw_8bit": 'set "adamw8bit"',
        "adam8bit": 'set "adamw8bit"',
        "pagedadamw8bit": 'set "paged_adamw8bit"',
        "pagedadamw": 'set "paged_adamw8bit"',
        "adam": 'set "adamw"',
        "adamw_torch": 'set "adamw"',
        "lion_8bit": 'set "lion8bit"',
        "stableadamw": 'set "stable_adamw"',
        "adamwschedulefree": 'set "schedule_free"',
        "schedule_free_adamw": 'set "schedule_free"',
        "dadaptation": 'it is not offered: set "prodigy", its successor',
        "dadaptadam": 'it is not offered: set "prodigy", its successor',
        "sgd": 'it is not offered: set "adamw"',
    },
    "train.precision": {
        "no": 'set "fp32"',
        "float": 'set "fp32"',
        "float32": 'set "fp32"',
        "float16": 'set "fp16"',
        "half": 'set "fp16"',
        "bfloat16": 'set "bf16"',
        "fp8": 'it is not offered: set "bf16"',
    },
    "output.dtype": {
        "float": 'set "fp32"',
        "float32": 'set "fp32"',
        "float16": 'set "fp16"',
        "half": 'set "fp16"',
        "bfloat16": 'set "bf16"',
    },
    "objective.loss": {"l2": 'set "mse"', "smooth_l1": 'set "huber"', "l1": 'it is not offered: set "huber"'},
    "base.family": {
        "sd15": 'set "sd1"',
        "sd_1.5": 'set "sd1"',
        "sd1.5": 'set "sd1"',
        "sd21": 'set "sd2"',
        "sd2.1": 'set "sd2"',
        "xl": 'set "sdxl"',
        "pony": 'set "sdxl"',
        "illustrious": 'set "sdxl"',
    },
    "base.prediction": {"v": 'set "v_prediction"', "vpred": 'set "v_prediction"', "eps": 'set "epsilon"'},
    "method": {
        "embedding": 'set "textual_inversion"',
        "ti": 'set "textual_inversion"',
        "fine_tune": 'set "full"',
        "finetune": 'set "full"',
        "locon": 'set "lora", with lora.targets = "all"',
        "loha": 'set "lora", with lora.kind = "loha"',
        "lokr": 'set "lora", with lora.kind = "lokr"',
        "dora": 'set "lora", with lora.dora = true',
        "db": 'set "dreambooth"',
        "b_lora": 'set "style_lora"',
    },
}


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def for_key(key: str, method: str, known: Collection[str]) -> str:
    """What to do about a key that other tools have; empty for one that is not known from them.

    `known` are the keys of the method's plan: a hint never names one that it does not have.
    """
    found = KEYS.get(_plain(key.rpartition(".")[2]), "")
    if not found or " " in found:
        return found
    own = found.format(method=method)
    return f"did you mean {own}?" if own in known else f"method {method} has nothing like it"


def for_value(key: str, value: object, choices: str) -> str:
    """What to do about a value that other tools have for the field; empty for another value."""
    table = VALUES.get(key, {})
    return table.get(_plain(str(value)), "").format(choices=choices) if isinstance(value, str) else ""
