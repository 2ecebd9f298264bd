"""This package measures a model against ground truth: held-out rendered heads, relit, beside their true pictures.

It is the work of `relight evaluate --synthetic`: case (a head and its two lights), variant (the conditions the network
gets), scores and their metrics (ssim, detail), trial (cases × variants), statistics, claims (the paper's trends),
report and pictures. The paper's Tables 4 (adapters) and 5 (guidance) are variants.
"""

from training.evaluation.case import Case, held_out_case
from training.evaluation.scores import Scores, scored
from training.evaluation.trial import QUICK, Plan, Trial, run_trial
from training.evaluation.variant import Variant, relit

__all__ = ["QUICK", "Case", "Plan", "Scores", "Trial", "Variant", "held_out_case", "relit", "run_trial", "scored"]
