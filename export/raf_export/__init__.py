"""From a checkpoint to a model file, every hop proven."""
