"""Training a rung of the ladder on a text or the tiny world.

The way in: `training.Training(recipe, folder, device).run()`, an iterator of the values in `events`; `status` collects
them. `quality.quality(model)` measures a model against the truth of the tiny world. `events`, `status` and `source`
import no torch.
"""
