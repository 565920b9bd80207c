"""A bundle from a model that somebody else made: its file, a table of labels, and what its input is. Needs no TensorFlow."""

from __future__ import annotations

from streamcls.training.importing.bundle import Imported, ImportOptions, import_model
from streamcls.training.importing.labels import read_labels
from streamcls.training.importing.tensors import ModelFacts, read_model

__all__ = ["ImportOptions", "Imported", "ModelFacts", "import_model", "read_labels", "read_model"]
