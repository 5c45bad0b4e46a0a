"""preflab from Python: load, sample, judge, train and evaluate with the stages and loops that a recipe uses.

Every name here is also a name of the package (`preflab.load`). Training runs a recipe of one stage, so a killed run
resumes when it is called again, and its folder has the same files.
"""

from preflab.library.judging import Comparison, evaluate, judge
from preflab.library.models import Answers, Model, RewardModel, load, sample
from preflab.library.training import train, train_reward

__all__ = [
    "Answers",
    "Comparison",
    "Model",
    "RewardModel",
    "evaluate",
    "judge",
    "load",
    "sample",
    "train",
    "train_reward",
]
