"""From a model's name to a loaded model: catalog, Hub, families, weights, checkpoints.

`models.load_model(ModelChoice(name=…))` loads; `listing.offers()` lists what can be loaded, without torch.
"""
