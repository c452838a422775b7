"""Sounds to item features: statistics of their spectrum without weights, and any encoder of transformers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from recsys.datasets.content.encoder import encoder
from recsys.datasets.content.weights import Model, Revision, local, model_revision, need
from recsys.datasets.dataset import Modality

RATE, WINDOW, STEP, BANDS = 16_000, 400, 160, 64
"""Hz; samples of a window (25 ms) and between windows (10 ms); mel bands."""
LONGEST = 10 * 60 * RATE
"""Samples of a sound that are heard."""


@encoder(reads="file", each=True, width="192", revision="1", weights="none")
def audio(
    texts: Sequence[bytes], *, width: int, seed: int, source: str, fit_on: Sequence[bytes] | None = None
) -> Modality:
    """Sounds to (n_items, 192) rows: mean and standard deviation over time of 64 log-mel bands (Davis and Mermelstein,
    IEEE TASSP 1980, without the cosine transform), and the mean size of their change from window to window; 25 ms
    windows every 10 ms at 16 kHz. `width`, `seed` and `fit_on` are ignored. WAV is read without further packages,
    other formats with soundfile. A sound that cannot be read counts as missing.
    """
    features = np.zeros((len(texts), 3 * BANDS), dtype=np.float32)
    for row, data in enumerate(texts):
        if (samples := samples_of(data)) is not None:
            features[row] = describe(samples)
    return Modality(features, np.asarray(features.any(axis=1)))


@encoder(
    reads="file",
    each=True,
    width="the model's",
    revision=model_revision,
    licence="the model's; see its page",
    weights="a folder, or a name on the Hugging Face hub such as facebook/wav2vec2-base",
)
def named(
    texts: Sequence[bytes],
    *,
    width: int,
    seed: int,
    source: str,
    fit_on: Sequence[bytes] | None = None,
    model: Model = "",
    revision: Revision = "main",
) -> Modality:
    """(n_items, the model's width): the mean over time of the last layer of any model of sounds of the library
    transformers. `width`, `seed` and `fit_on` are ignored. A sound that cannot be read counts as missing.

    Raises:
        DataError: a package is not installed, or the model is not there.
    """
    import torch

    prepare, network = _loaded(local(model, revision, source).folder, source)
    features = np.zeros((len(texts), int(network.config.hidden_size)), dtype=np.float32)
    mask = np.zeros(len(texts), dtype=bool)
    for row, data in enumerate(texts):
        samples = samples_of(data, int(prepare.sampling_rate))
        if samples is None:
            continue
        with torch.inference_mode():
            inputs = prepare(samples, sampling_rate=prepare.sampling_rate, return_tensors="pt")
            features[row] = network(**inputs).last_hidden_state.float().mean(dim=1)[0].numpy()
        mask[row] = np.isfinite(features[row]).all()
    features[~mask] = 0
    return Modality(features, mask)


@lru_cache(maxsize=1)
def _loaded(folder: str, source: str) -> tuple[Any, Any]:
    library = need("transformers", "audio", source)
    prepare = library.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    network = library.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return prepare, network.eval()


def samples_of(data: bytes, rate: int = RATE) -> np.ndarray | None:
    """(n,) float32 from -1 to 1 of one sound, its channels' mean, at `rate` Hz; None where the bytes are none."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own_rate, samples = wavfile.read(io.BytesIO(data))
    except Exception:  # damaged headers raise ValueError, struct.error, EOFError ...
        own_rate, samples = _other_format(data)
    if samples is None or not samples.size or own_rate <= 0:
        return None
    kind = samples.dtype
    sound = samples.astype(np.float64).reshape(len(samples), -1).mean(axis=1)
    if kind == np.uint8:
        sound = (sound - 128) / 128
    elif kind.kind == "i":
        sound /= np.iinfo(kind).max
    if not np.isfinite(sound).all():
        return None
    if own_rate != rate:
        from scipy.signal import resample_poly

        shared = int(np.gcd(own_rate, rate))
        sound = resample_poly(sound[: int(LONGEST / RATE * own_rate)], rate // shared, own_rate // shared)
    return np.asarray(sound[: int(LONGEST / RATE * rate)], dtype=np.float32)


def _other_format(data: bytes) -> tuple[int, np.ndarray | None]:
    try:
        import soundfile

        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except Exception:  # the package is not there, or knows no such format
        return 0, None
    return int(rate), samples


@lru_cache(maxsize=1)
def _mel() -> np.ndarray:
    """(201, 64) triangles over the frequencies of a window, evenly spaced in mel (2595 log10(1 + f / 700))."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequency = np.arange(WINDOW // 2 + 1)[:, None] * RATE / WINDOW
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    triangles = np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle))
    return np.maximum(triangles, 0)


def describe(samples: np.ndarray) -> np.ndarray:
    """(192,) float32 of one sound at 16 kHz.

    Args:
        samples: (n,) float32; a sound shorter than a window is padded with silence.
    """
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP] * np.hanning(WINDOW)
    bands = np.log(np.abs(np.fft.rfft(windows, axis=1)) ** 2 @ _mel() + 1e-6)
    change = np.abs(np.diff(bands, axis=0)).mean(axis=0) if len(bands) > 1 else np.zeros(BANDS)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0), change]).astype(np.float32)
