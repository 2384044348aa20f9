from hub_fixtures import few_steps, repositories, served, stocked

__all__ = ["few_steps", "repositories", "served", "stocked"]
