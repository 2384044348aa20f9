from hub_fixtures import repositories, served, stocked

__all__ = ["repositories", "served", "stocked"]
