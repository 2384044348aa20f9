"""Frozen networks, thin over diffusers and transformers; no method inside. ``segwright.weights`` builds them."""
