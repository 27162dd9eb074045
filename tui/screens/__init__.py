"""Screens over the walk: comparison, experiments, training, hyperparameters, help. The app opens them."""
