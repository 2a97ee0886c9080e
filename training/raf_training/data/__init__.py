"""Rigs to learn from: sources, their identities, and the samples made of them."""
