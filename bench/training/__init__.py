"""How a run is trained: the command's work, the loop, checkpoints, optimisers, losses and the device."""
