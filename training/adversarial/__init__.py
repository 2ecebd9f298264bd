"""This package holds the opponent of adversarial distillation: discriminator heads on a frozen encoder, and its losses.

The method is SF-V's (Zhang et al. 2024, arXiv 2406.04324); `training.loop.adversary` trains with it.
"""
