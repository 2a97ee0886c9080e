"""Training of raf-sdk models: data, network, losses, rendering, schedules (needs ``raf-sdk[train]``)."""
