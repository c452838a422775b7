"""What should be known of recommendations, said alike by a run and by its bundle."""

from __future__ import annotations


def notes_on(
    model: str, *, users: int, strangers: int, popular: bool, new_items: int, without_content: int
) -> list[str]:
    """Sentences on users and new items of whom nothing is known.

    Args:
        model: its name.
        users, strangers: how many are recommended to, and how many of them have no interactions.
        popular: who has none gets the ranking by popularity.
        new_items, without_content: how many are ranked, and how many of them have none of the content it reads.
    """
    notes = []
    if without_content:
        notes.append(
            f"{without_content:,} of {new_items:,} new items have none of the content that {model} reads: they "
            "fall back to popularity, the score of an average item"
        )
    if strangers:
        which = "a ranking by their attributes, or the average user's where the model reads none"
        if popular:
            which = "the ranking by popularity" + (", where new items tie" if new_items else "")
        notes.append(f"{strangers:,} of {users:,} users have no interactions: they get {which}")
    return notes
