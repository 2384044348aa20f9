"""Regions or features + words -> scores."""
