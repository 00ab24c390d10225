"""M3GNet in MatterSim's layout: the model, its official weights, and the differentiable calculator."""
