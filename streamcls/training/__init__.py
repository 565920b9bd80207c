"""Training, quantising, exporting and evaluating models. The only part of streamcls that may import TensorFlow.

Importing this package, and evaluating a bundle, needs no TensorFlow; training does (``pip install 'streamcls[train]'``).
"""

from __future__ import annotations

from streamcls.training.evaluate import Evaluation, evaluate
from streamcls.training.recipe import Recipe, load_recipe, parse_recipe
from streamcls.training.run import TrainOptions, train

__all__ = ["Evaluation", "Recipe", "TrainOptions", "evaluate", "load_recipe", "parse_recipe", "train"]
