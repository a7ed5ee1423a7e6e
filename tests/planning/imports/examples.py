"""Settings of other training tools, written for these tests with the facts of a public example of each; what a plan has
for each value stands beside it in the tests.

The examples: cyber-meow/sd_training_config kohya_network_config.toml; bmaltais/kohya_ss presets/lora/loha-sd15.json;
Nerogar/OneTrainer training_presets "#sdxl 1.0 LoRA" and "#sd 1.5 LoRA"; SimpleTuner config/config.json.example and
multidatabackend.json.example; ai-toolkit config/examples/train_lora_sd35_large_24gb.yaml (the model replaced by SDXL);
diffusers examples/text_to_image/README_sdxl.md and examples/dreambooth/README.md.
"""

KOHYA = """
[model]
pretrained_model_name_or_path = "/models/some.safetensors"
clip_skip = 2
v2 = false
v_parameterization = false

[folder]
train_data_dir = "/pictures/set"
output_dir = "/out"
output_name = "name"
resolution = "512"

[length]
seed = 23
max_train_steps = 10000
max_train_epochs = 2
save_every_n_epochs = 10
save_every_n_steps = 5000
save_precision = "fp16"
save_state = false

[network]
network_module = "lycoris.kohya"
network_args = ["conv_dim=4", "conv_alpha=1", "algo=loha"]
network_dim = 8
network_alpha = 4.0
network_dropout = 0
network_train_unet_only = false

[optimizer]
train_batch_size = 8
gradient_accumulation_steps = 1
gradient_checkpointing = false
optimizer_type = "AdamW8bit"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
learning_rate = 0.0003
unet_lr = 0.0002
text_encoder_lr = 0.0002
max_grad_norm = 1.0
lr_scheduler = "constant"
lr_warmup_steps = 0
lr_scheduler_num_cycles = 1
lr_scheduler_power = 1.0

[rest]
mixed_precision = "bf16"
min_snr_gamma = 5
multires_noise_discount = 0.3
multires_noise_iterations = 10
scale_weight_norms = 1
enable_bucket = true
shuffle_caption = false
keep_tokens = 0
caption_extension = ".txt"
caption_dropout_rate = 0.05
max_token_length = 150
xformers = true
flip_aug = false
color_aug = false
token_warmup_step = 0
something_new = "yes"
"""

GUI = {
    "LoRA_type": "LyCORIS/LoHa",
    "caption_dropout_rate": 0,
    "clip_skip": "1",
    "conv_alpha": 4,
    "conv_dim": 8,
    "enable_bucket": True,
    "epoch": 2,
    "gradient_accumulation_steps": 4,
    "keep_tokens": "0",
    "learning_rate": 0.0001,
    "lr_scheduler": "cosine",
    "lr_scheduler_num_cycles": "",
    "lr_warmup": 0,
    "max_resolution": "512,512",
    "max_token_length": "75",
    "max_train_epochs": "",
    "min_snr_gamma": 10,
    "mixed_precision": "bf16",
    "multires_noise_discount": 0.2,
    "multires_noise_iterations": 8,
    "network_alpha": 16,
    "network_dim": 32,
    "num_cpu_threads_per_process": 2,
    "optimizer": "AdamW",
    "optimizer_args": "",
    "prior_loss_weight": 1.0,
    "rank_dropout": 0,
    "save_every_n_epochs": 1,
    "save_precision": "fp16",
    "scale_weight_norms": 1,
    "seed": "",
    "text_encoder_lr": 0.00005,
    "train_batch_size": 1,
    "unet_lr": 0.0001,
    "use_cp": True,
    "v2": False,
    "xformers": True,
}

ONETRAINER = {
    "training_method": "LORA",
    "model_type": "STABLE_DIFFUSION_XL_10_BASE",
    "base_model_name": "stabilityai/stable-diffusion-xl-base-1.0",
    "output_dtype": "FLOAT_32",
    "output_model_format": "SAFETENSORS",
    "output_model_destination": "models/lora.safetensors",
    "concept_file_name": "training_concepts/concepts.json",
    "aspect_ratio_bucketing": True,
    "optimizer": "ADAMW",
    "learning_rate_scheduler": "CONSTANT",
    "learning_rate": 0.0003,
    "learning_rate_warmup_steps": 200,
    "learning_rate_cycles": 1,
    "weight_decay": 0.01,
    "epochs": 100,
    "batch_size": 4,
    "gradient_accumulation_steps": 1,
    "ema": "OFF",
    "ema_decay": 0.999,
    "train_text_encoder": False,
    "text_encoder_learning_rate": 0.0003,
    "unet_learning_rate": 0.0002,
    "offset_noise_weight": 0.05,
    "rescale_noise_scheduler_to_zero_terminal_snr": False,
    "force_v_prediction": False,
    "train_dtype": "FLOAT_16",
    "resolution": 1024,
    "max_noising_strength": 1.0,
    "token_count": 1,
    "lora_rank": 16,
    "lora_alpha": 1.0,
    "attention_mechanism": "XFORMERS",
    "sample_after": 10,
    "sample_after_unit": "MINUTE",
    "save_after": 2,
    "save_after_unit": "EPOCH",
}

ONETRAINER_NEW = {
    "base_model_name": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "batch_size": 4,
    "layer_filter_preset": "attn-mlp",
    "learning_rate": 0.0003,
    "model_type": "STABLE_DIFFUSION_15",
    "output_model_destination": "models/lora.safetensors",
    "resolution": "512",
    "training_method": "LORA",
    "vae": {"weight_dtype": "FLOAT_32"},
    "unet": {"weight_dtype": "FLOAT_16"},
    "text_encoder": {"weight_dtype": "FLOAT_16", "train": True, "learning_rate": 0.0001},
    "optimizer": {"optimizer": "PRODIGY", "weight_decay": 0.02},
}

SIMPLETUNER = {
    "--resume_from_checkpoint": "latest",
    "--data_backend_config": "config/multidatabackend.json",
    "--aspect_bucket_rounding": 2,
    "--seed": 42,
    "--output_dir": "output/models",
    "--lora_type": "standard",
    "--lora_rank": 32,
    "--max_train_steps": 10000,
    "--num_train_epochs": 0,
    "--checkpointing_steps": 500,
    "--checkpoints_total_limit": 5,
    "--push_to_hub": "true",
    "--report_to": "wandb",
    "--model_type": "lora",
    "--pretrained_model_name_or_path": "stabilityai/stable-diffusion-xl-base-1.0",
    "--model_family": "sdxl",
    "--train_batch_size": 2,
    "--gradient_checkpointing": "true",
    "--caption_dropout_probability": 0.1,
    "--resolution_type": "pixel_area",
    "--resolution": 1024,
    "--validation_seed": 42,
    "--validation_steps": 500,
    "--validation_resolution": "1024x768",
    "--validation_guidance": 3.0,
    "--validation_guidance_rescale": "0.0",
    "--validation_num_inference_steps": "20",
    "--validation_prompt": "a picture of a cat that could be a photograph",
    "--mixed_precision": "bf16",
    "--optimizer": "adamw_bf16",
    "--learning_rate": "1e-4",
    "--lr_scheduler": "polynomial",
    "--lr_warmup_steps": 100,
}

AITOOLKIT = """
job: extension
config:
  name: "my_first_lora_v1"
  process:
    - type: 'sd_trainer'
      training_folder: "output"
      device: cuda:0
      trigger_word: "p3r5on"
      network:
        type: "lora"
        linear: 16
        linear_alpha: 8
      save:
        dtype: float16
        save_every: 250
        max_step_saves_to_keep: 4
        push_to_hub: false
      datasets:
        - folder_path: "/path/to/pictures"
          caption_ext: "txt"
          caption_dropout_rate: 0.05
          shuffle_tokens: false
          cache_latents_to_disk: true
          resolution: [1024]
      train:
        batch_size: 1
        steps: 2000
        gradient_accumulation_steps: 1
        train_unet: true
        train_text_encoder: false
        gradient_checkpointing: true
        noise_scheduler: "ddpm"
        optimizer: "adamw8bit"
        lr: 1e-4
        ema_config:
          use_ema: true
          ema_decay: 0.99
        dtype: bf16
      model:
        name_or_path: "stabilityai/stable-diffusion-xl-base-1.0"
        is_xl: true
        quantize: true
      sample:
        sampler: "ddpm"
        sample_every: 200
        width: 1024
        height: 1024
        prompts:
          - "[trigger] with red hair, at a table"
          - "two cats"
        neg: ""
        seed: 42
        walk_seed: true
        guidance_scale: 4
        sample_steps: 25
meta:
  name: "[name]"
"""

DIFFUSERS = r"""
export MODEL_NAME="stabilityai/stable-diffusion-xl-base-1.0"
export VAE_NAME="madebyollin/sdxl-vae-fp16-fix"

accelerate launch train_text_to_image_lora_sdxl.py \
  --pretrained_model_name_or_path=$MODEL_NAME \
  --pretrained_vae_model_name_or_path=$VAE_NAME \
  --dataset_name=$DATASET_NAME --caption_column="text" \
  --resolution=1024 --random_flip \
  --train_batch_size=1 \
  --num_train_epochs=2 --checkpointing_steps=500 \
  --learning_rate=1e-04 --lr_scheduler="constant" --lr_warmup_steps=0 \
  --mixed_precision="fp16" \
  --seed=42 \
  --output_dir="sd-model-lora-sdxl" \
  --validation_prompt="cute dragon creature" --report_to="wandb" \
  --push_to_hub
"""

DREAMBOOTH = (
    'accelerate launch train_dreambooth.py --pretrained_model_name_or_path="CompVis/stable-diffusion-v1-4" '
    "--instance_data_dir=/pictures/dog --class_data_dir=/pictures/class --output_dir=out "
    "--with_prior_preservation --prior_loss_weight=0.9 "
    '--instance_prompt="a photo of sks dog" --class_prompt="a photo of dog" --resolution=512 --train_batch_size=1 '
    "--use_8bit_adam --gradient_checkpointing --train_text_encoder --learning_rate=2e-6 --lr_scheduler=constant "
    "--lr_warmup_steps=0 --num_class_images=200 --max_train_steps=800"
)
