"""What the optimisers of the package pytorch-optimizer share."""

PACKAGE = "pytorch_optimizer"
REQUIREMENT = "pytorch-optimizer>=4.1,<5"
