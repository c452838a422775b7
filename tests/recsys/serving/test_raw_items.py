"""New items with pictures, sent to a service: the pictures come in the body, and no file is opened for a client."""

import base64
import io
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import recsys
from recsys.errors import UserError
from recsys.serving.state import read_items


def picture(colour):
    data = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Thirty customers of whom each takes products of one colour alone."""
    folder = tmp_path_factory.mktemp("shop")
    colours = ["red", "green", "blue"]
    products = pd.DataFrame({"sku": range(30), "photo": [str(folder / f"{n}.png") for n in range(30)]})
    for n in range(30):
        (folder / f"{n}.png").write_bytes(picture(colours[n % 3]))
    rng = np.random.default_rng(0)
    clicks = pd.DataFrame(
        [(f"u{u}", int(n) * 3 + u % 3) for u in range(30) for n in rng.choice(10, 6, replace=False)],
        columns=["user", "sku"],
    )
    data = recsys.Dataset.from_frame(clicks, item="sku", items=products, content={"photo": "image"})
    run = recsys.train("contentknn", data, split="random")
    return recsys.load_bundle(run.package(folder / "bundle")), folder


def test_a_picture_in_the_body_places_the_item_as_a_file_does(bundle):
    served, _ = bundle
    sent = base64.b64encode(picture("green")).decode()
    for cell in (sent, f"data:image/png;base64,{sent}"):
        made = read_items([{"item": "new", "photo": cell}], served)
        own = served.dataset.modalities["photo"].features[list(served.items.names).index("1")]
        np.testing.assert_allclose(made.modalities["photo"].features[0], own, atol=1e-6)
    extended, _ = served.with_items(read_items([{"item": "new", "photo": sent}], served))
    recipients = extended.recipients(["u1"])
    assert "new" in extended.lists(recipients, 5, None, 0)["item"].tolist()


def test_a_name_of_a_file_is_not_opened(bundle):
    served, folder = bundle
    for cell in (str(folder / "1.png"), "../1.png", "1.png", "data:image/png,1.png"):
        made = read_items([{"item": "new", "photo": cell}], served)
        assert not made.modalities["photo"].mask.any()


def test_an_encoder_whose_package_lacks_is_told_with_what_to_install(bundle, monkeypatch):
    served, _ = bundle
    sent = base64.b64encode(picture("purple")).decode()
    for module in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"^new items: photo: .*pip install 'recsys\[image\]'") as told:
        read_items([{"item": "new", "photo": sent}], served)
    assert "\n" not in str(told.value)
