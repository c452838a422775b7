"""`recsys data init`: a stranger's folder gets a card that reads it, with a reason for each decision."""

import numpy as np
import pandas as pd
import pytest

from recsys.datasets.cards import load_dataset
from recsys.datasets.guess import guess_card
from recsys.errors import DataError


@pytest.fixture
def shop(tmp_path):
    """60 purchases of 12 customers and 10 products, with what a shop keeps of them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    pairs = [(f"c{u}", f"P-{i:02d}") for u in range(12) for i in rng.permutation(10)[:5]]
    bought = pd.DataFrame(pairs, columns=["CustomerNo", "productCode"])
    bought["boughtAt"] = pd.date_range("2024-01-01", periods=60, freq="D").astype(str)
    bought.to_csv(folder / "purchases.csv", index=False)
    products = pd.DataFrame({"sku": [f"P-{i:02d}" for i in range(10)]})
    products["name"] = [f"a fine thing no {i}" for i in range(10)]
    products["department"] = ["garden|tools", "kitchen"] * 5
    products["price"] = rng.random(10).round(2)
    products["picture"] = [f"{i}.jpg" for i in range(10)]
    products.to_csv(folder / "products.csv", index=False)
    np.save(folder / "photo_feat.npy", rng.random((10, 4)).astype(np.float32))
    np.save(folder / "other.npy", rng.random((7, 4)).astype(np.float32))
    return folder


def test_roles_are_guessed_with_reasons(shop):
    guess = guess_card(shop)
    assert guess.card.options == {
        "interactions": "purchases.csv",
        "columns": {"user": "CustomerNo", "item": "productCode", "timestamp": "boughtAt"},
        "items": {"file": "products.csv", "id": "sku", "drop": ["picture"]},
        "features": {"photo": {"file": "photo_feat.npy"}},
        "content": {"name": "text", "department": "category", "price": "number"},
    }
    said = "\n".join(guess.reasons)
    assert "'sku' has 100.0% of the items' ids" in said and "not used: other.npy" in said
    assert "'picture' names files that are not in this folder" in said


def test_the_card_reads_the_folder(shop, recsys, tmp_path):
    status, _, err = recsys("data", "info", "shop", "--data-root", "data")
    assert status == 2 and "recsys data init" in err and "'sku,name,department,price,picture'" in err
    status, out, _ = recsys("data", "init", "data/shop")
    assert status == 0 and "by their names" in out and "correct it" in out
    data = load_dataset("shop", tmp_path / "data")
    assert (data.n_users, data.n_items, len(data.interactions)) == (12, 10, 60)
    assert set(data.modalities) == {"photo", "name", "department", "price"}
    assert (
        recsys("train", "--model", "pop", "--dataset", "shop", "--data-root", "data", "--out", "run")[0] == 0
    )
    status, _, err = recsys("data", "init", "data/shop")
    assert status == 2 and "already" in err and err.count("\n") == 1


@pytest.mark.parametrize("damage", ["empty", "no items", "gone", "known"])
def test_a_folder_that_cannot_be_guessed_says_what_is_there(shop, damage):
    if damage == "empty":
        for path in shop.iterdir():
            path.unlink()
    if damage == "no items":
        (shop / "purchases.csv").write_text("a,b\n1,2\n")
        (shop / "products.csv").unlink()
    if damage == "gone":
        shop = shop / "nowhere"
    if damage == "known":
        (shop / "shop.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    said = {
        "empty": "there is no table",
        "no items": "purchases.csv: a, b",
        "gone": "no folder",
        "known": "needs no card",
    }
    with pytest.raises(DataError, match=said[damage]):
        guess_card(shop)
    assert not (shop / "card.yaml").exists()
