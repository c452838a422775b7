"""Speed and memory against plain references; part of a checkout, not of the wheel."""
