"""A packaged data set: its card, and its files beside the card."""

from pathlib import Path

CARD = Path(__file__).with_name("card.yaml")
