"""Features to regions."""
