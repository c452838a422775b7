"""A run: its one description, its folder, and what can be asked of it once it is trained."""
