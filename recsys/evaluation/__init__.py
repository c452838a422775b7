"""Full-catalogue ranking and its metrics."""
