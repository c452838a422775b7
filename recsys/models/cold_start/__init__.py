"""Models made for new items and new users."""
