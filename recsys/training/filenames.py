"""The files that training leaves in a run's folder."""

MODEL_FILE, RESUME_FILE, HISTORY_FILE = "model.safetensors", "last.ckpt", "history.csv"
ONLY_STAGE = "model"
"""What the only stage of a model that is trained as one is called."""
