"""The program examines itself on this machine with these weights: ``segwright check``."""
