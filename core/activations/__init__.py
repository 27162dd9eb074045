"""What happens inside a model during a forward pass, read by hooks (`trace`) and changed by hooks (`apply`).

The way in: `trace.step_at` and `trace.trace_step` record one position; `patch.Patch` describes a change as data,
`apply.patched` applies it within a block, `sweep.sweep` tries one on every part, and `experiment.Experiment` keeps the
unpatched walk beside the patched one. `patch` imports no torch.
"""
