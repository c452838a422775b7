"""As a new user would: a folder of purchases, products and pictures becomes a card, a data set, a trained model, and
recommendations for known users, new users and new products given by raw title and picture.

Half of the users like red things, half blue ones, whatever they are: titles and categories say what a thing is, only
the pictures say its colour.
"""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from recsys.datasets.cards import load_dataset

pillow = pytest.importorskip("PIL.Image", reason="pictures need the extra image")
NOUNS = {
    "kitchen": ["pan", "bowl", "knife", "kettle", "mug"],
    "garden": ["rake", "hose", "spade", "gloves", "pot"],
}
COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200)}


def picture(path, colour, rng):
    """48 x 48 points of a colour, each somewhat off."""
    points = np.array(COLOURS[colour]) + rng.normal(0, 25, (48, 48, 3))
    pillow.fromarray(points.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def shop(tmp_path):
    """60 products and 80 customers; the colour of each product is in its picture alone."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "data" / "shop"
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number in range(60):
        department = list(NOUNS)[number % 2]
        noun = NOUNS[department][number // 2 % 5]
        colour = list(COLOURS)[number // 10 % 2]
        picture(folder / "pictures" / f"img{number}.png", colour, rng)
        rows.append(
            {
                "sku": f"P-{number:03d}",
                "title": f"a good {noun} no {number}",
                "category": f"{department}; {noun}",
                "price": f"${10 + number / 4:.2f}",
                "picture": f"img{number}.png",
                "link": f"https://shop.example/{number}",
                "colour": colour,
            }
        )
    products = pd.DataFrame(rows)
    liked = {"red": products["colour"] == "red", "blue": products["colour"] == "blue"}
    bought = []
    for customer in range(80):
        chance = np.where(liked[list(COLOURS)[customer % 2]], 12.0, 1.0)
        for day, row in enumerate(rng.choice(60, 12, replace=False, p=chance / chance.sum())):
            bought.append((f"c{customer}", products["sku"][row], f"2026-03-{day + 1:02}", 1))
    pd.DataFrame(bought, columns=["customer", "sku", "bought_at", "pieces"]).to_csv(
        folder / "purchases.csv", index=False
    )
    products.drop(columns="colour").to_csv(folder / "products.csv", index=False)
    (folder / "pictures" / "img7.png").write_bytes(b"no picture")
    return folder


def run_all(recsys, *commands):
    outs = []
    for command in commands:
        status, out, err = recsys(*command.split())
        assert status == 0, (command, err)
        outs.append(" ".join(out.split()))
    return outs


def test_a_new_users_way_from_raw_files_to_recommendations(shop, recsys, tmp_path):
    init, verify, info = run_all(
        recsys,
        "data init data/shop",
        "data verify shop --data-root data",
        "data info shop --data-root data",
    )
    assert "'category' becomes a modality by the encoder category: several values" in init
    assert "'price' becomes a modality by the encoder number: its values are amounts of money" in init
    assert "'picture' names files, 100% of which are in pictures" in init and "'link' holds links" in init
    card = yaml.safe_load((shop / "card.yaml").read_text())
    assert card["options"]["content"] == {
        "title": "text",
        "category": {"encoder": "category", "separator": ";"},
        "price": "number",
        "picture": {"encoder": "image", "folder": "pictures"},
    }
    assert "of 2 the card has none" in verify
    assert "picture: 1 of 60 files cannot be read and count as missing: 'img7.png'" in info
    data = load_dataset("shop", tmp_path / "data")
    assert data.modalities["picture"].mask.sum() == 59 and data.modalities["category"].width == 12
    assert list(data.item_attributes) == ["title", "category", "price"]

    run_all(
        recsys,
        "train --model contentridge --dataset shop --data-root data --split cold-item --seed 0 --out run",
        "report run --data-root data --out page",
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    # Who knows the colour rules out half of the 60 products: twice the chance level (0.195 against 0.100 here).
    assert metrics["test_cold"]["ndcg@10"] > 1.5 * metrics["chance"]["test_cold"]["ndcg@10"], metrics


def test_new_products_and_users_in_raw_form(shop, recsys, tmp_path):
    """Files under the shop's own column names: titles, prices, pictures beside the new file."""
    run_all(
        recsys, "data init data/shop", "train --model contentknn --dataset shop --data-root data --out run"
    )
    new = tmp_path / "arrived"
    new.mkdir()
    rng = np.random.default_rng(5)
    for colour in COLOURS:
        picture(new / f"{colour}.png", colour, rng)
    rows = [
        ("N-1", "a good mug", "kitchen; mug", "$12.00", "red.png", "https://shop.example/n1"),
        ("N-2", "a good mug", "kitchen; mug", "$12.00", "blue.png", "https://shop.example/n2"),
        ("N-3", "a good mug", "kitchen; mug", "", "gone.png", ""),
    ]
    names = ["sku", "title", "category", "price", "picture", "link"]
    pd.DataFrame(rows, columns=names).to_csv(new / "arrivals.csv", index=False)
    asked = "recommend --run run --data-root data --new-items arrived/arrivals.csv --users all"
    (told,) = run_all(recsys, f"{asked} --output all.csv -k 3")
    assert "'gone.png'" in told and "count as missing" in told
    frame = pd.read_csv(tmp_path / "all.csv")
    assert frame["new"].all() and set(frame["item"]) == {"N-1", "N-2", "N-3"}
    place = frame.pivot(index="user", columns="item", values="rank")
    red = [user for user in place.index if int(user[1:]) % 2 == 0]
    blue = place.index.difference(red)
    assert (place.loc[red, "N-1"] < place.loc[red, "N-2"]).mean() > 0.9
    assert (place.loc[blue, "N-2"] < place.loc[blue, "N-1"]).mean() > 0.9
    bought = pd.DataFrame(
        {
            "customer": ["ann", "ann", "bob"],
            "sku": ["P-000", "P-001", ""],
            "bought_at": "2026-04-01",
            "pieces": 2,
        }
    )
    bought.to_csv(new / "customers.csv", index=False)
    run_all(
        recsys, "recommend --run run --data-root data --new-users arrived/customers.csv --output new.csv -k 5"
    )
    frame = pd.read_csv(tmp_path / "new.csv")
    of_ann = frame[frame["user"] == "ann"]
    assert set(frame["user"]) == {"ann", "bob"} and not set(of_ann["item"]) & {"P-000", "P-001"}
    assert of_ann["item"].str[2:].astype(int).floordiv(10).mod(2).mean() < 0.3  # she bought two red things


def test_the_same_in_python(shop, tmp_path, monkeypatch):
    import recsys as package

    monkeypatch.chdir(shop)
    purchases, products = pd.read_csv("purchases.csv"), pd.read_csv("products.csv")
    data = package.Dataset.from_frame(
        purchases,
        user="customer",
        item="sku",
        timestamp="bought_at",
        items=products,
        content={
            "title": "text",
            "about": {"encoder": "text", "columns": ["title", "category"], "template": "{title}. {category}"},
            "category": {"encoder": "category", "separator": ";"},
            "photo": {"encoder": "image", "columns": "picture", "folder": "pictures"},
        },
        drop=["link"],
        name="shop",
    )
    assert list(data.item_attributes) == ["title", "category", "price"]
    assert data.provenance["about"].made_of == "column title, category"
    run = package.train("contentknn", data)
    arrived = pd.DataFrame(
        {
            "sku": ["N-1", "N-2"],
            "title": "a mug",
            "category": "kitchen; mug",
            "picture": ["img0.png", "img10.png"],
        }
    ).assign(link="https://shop.example/x")
    frame = run.recommend(["c0"], new_items=arrived, k=2)
    assert frame["item"].tolist() == ["N-1", "N-2"] and (frame["score"].diff()[1:] < 0).all()
    run.save(tmp_path / "kept")
    again = package.load_run(tmp_path / "kept")
    pd.testing.assert_frame_equal(
        again.recommend(
            ["c0"], new_items=arrived.assign(picture=["pictures/img0.png", "pictures/img10.png"]), k=2
        ),
        frame,
    )
