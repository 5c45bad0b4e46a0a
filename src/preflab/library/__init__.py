"""preflab from Python: load, sample, judge, train, evaluate, with the stages and the loops of a recipe behind them.

Every name here is also a name of the package (`preflab.load`). Training runs the stage that a recipe of one stage would
run, so a run can be killed and called again, and its folder holds the same files.
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
