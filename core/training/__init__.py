"""Training a rung: the corpus, the trainer as an iterator of events, checkpoints."""
