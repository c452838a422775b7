"""A trained run that answers by itself: a folder of arrays and tables, read without its data set, graphs or torch."""
