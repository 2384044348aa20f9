"""What is whole in the folders that segwright wrote, what is damaged, and the mending of it."""
