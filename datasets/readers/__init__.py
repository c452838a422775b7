"""One file per format; each turns files into a Dataset."""
