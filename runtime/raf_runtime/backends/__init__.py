"""Ways to run a model; one module each, behind :class:`raf_runtime.backends.protocol.Backend`."""
