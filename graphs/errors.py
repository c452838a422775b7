"""The one error that graph building raises."""


class GraphError(ValueError):
    """A graph that cannot be built as asked: one line saying what was wrong and how to mend it."""
