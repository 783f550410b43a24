"""Training: the loop and what it needs. `medseg.training.launch.train` runs it.

Nothing is imported here, so that `medseg.training.schedule` can check a budget without torch.
"""
