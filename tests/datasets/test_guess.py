"""`recsys data init`: a stranger's folder gets a card that reads it, with a reason for each decision."""

import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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


def test_tables_that_lie_deeper_are_hinted_at(shop):
    with pytest.raises(DataError, match="there is no table; its folders are shop"):
        guess_card(shop.parent)


def table(path, header, rows, sep=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header] if header else []
    path.write_text("\n".join([*lines, *(sep.join(map(str, row)) for row in rows)]) + "\n")


PAIRS = [(u, i) for u in range(1, 13) for i in range(1, 11) if (u * i + i) % 3]


def movielens(folder):
    """Numbered users and films; each table of films has the users' numbers too."""
    table(
        folder / "ratings.csv",
        "userId,movieId,rating,timestamp",
        [(u, i, 0.5 + i % 5, 964982703 + i) for u, i in PAIRS],
    )
    table(folder / "links.csv", "movieId,imdbId,tmdbId", [(i, f"{i:07d}", 3 * i) for i in range(1, 13)])
    table(folder / "movies.csv", "movieId,title,genres", [(i, f"a film {i}", "A|B") for i in range(1, 13)])
    table(folder / "tags.csv", "userId,movieId,tag,timestamp", [(1, 1, "fun", 964982703)])


def fashion(folder):
    """Ids with leading zeros, a date, codes beside names, and pictures in folders by the ids' first digits."""
    table(
        folder / "transactions_train.csv",
        "t_dat,customer_id,article_id,price,sales_channel_id",
        [(f"2018-09-{i:02d}", f"c{u}", f"0{100 + i}", 0.05, 2) for u, i in PAIRS],
    )
    table(folder / "customers.csv", "customer_id,age", [(f"c{u}", 20 + u) for u in range(1, 13)])
    rows = [(f"0{100 + i}", 250 + i % 2, f"a nice top {i}", "Black") for i in range(1, 11)]
    table(folder / "articles.csv", "article_id,product_type_no,prod_name,colour", rows)
    for i in range(1, 11):
        path = folder / "images" / f"0{i % 3}" / f"0{100 + i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(path)


def reviews(folder):
    """JSON lines with two columns of items, and records inside the cells of the items' table."""
    rows = [
        {"rating": 1.0 + i % 5, "asin": f"A{i // 2}", "parent_asin": f"B{i}", "user_id": f"U{u}"}
        for u, i in PAIRS
    ]
    with gzip.open(folder / "reviews.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    items = [
        {
            "title": f"a thing no {i}",
            "images": [{"thumb": "https://x/y.jpg"}],
            "categories": ["Beauty", ["Hair", "Nails"][i % 2]],
            "details": {"Brand": "X"},
            "parent_asin": f"B{i}",
        }
        for i in range(1, 11)
    ]
    with gzip.open(folder / "meta_reviews.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, items)))


def older_reviews(folder):
    """JSON lines, and lines of dicts as Python writes them, with paths of categories and numbers of sales."""
    rows = [
        {"reviewerID": f"U{u}", "asin": f"B{i}", "overall": 1.0 + i % 5, "unixReviewTime": 1370000000 + i}
        for u, i in PAIRS
    ]
    with gzip.open(folder / "reviews_Beauty_5.json.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    items = [
        {
            "asin": f"B{i}",
            "title": f'it\'s a "thing" no {i}',
            "related": {"also_bought": ["B1"]},
            "categories": [["Beauty", "Hair"], ["Beauty", f"Nails {i % 2}"]],
        }
        for i in range(1, 11)
    ]
    with gzip.open(folder / "meta_Beauty.json.gz", "wt") as file:
        file.write("\n".join(map(repr, items)))


def music(folder):
    """Tabs in .dat files, and names in another encoding."""
    table(folder / "user_artists.dat", "userID\tartistID\tweight", [(u, i, 3) for u, i in PAIRS], "\t")
    rows = "\n".join(["id\tname\turl", *(f"{i}\tgroup É {i}\thttp://x/{i}" for i in range(1, 11))])
    (folder / "artists.dat").write_bytes(rows.encode("latin-1"))


def books(folder):
    """Semicolons and quotes, names with dashes, in another encoding."""
    rows = [(f'"{u}"', f'"0{i}X"', f'"{i % 5}"') for u, i in PAIRS]
    table(folder / "ratings.csv", '"User-ID";"ISBN";"Book-Rating"', rows, ";")
    rows = [(f'"0{i}X"', f'"The book; part {i}"') for i in range(1, 11)]
    table(folder / "books.csv", '"ISBN";"Book Title"', rows, ";")
    rows = [(f'"{u}"', f'"Köln, no {u}"') for u in range(1, 13)]
    table(folder / "users.csv", '"User-ID";"Location"', rows, ";")
    (folder / "users.csv").write_bytes((folder / "users.csv").read_text().encode("latin-1"))


def bare(folder):
    """No header: user, item, rating, seconds."""
    table(folder / "ratings.csv", "", [(f"A{u}", f"B{i}", 1.0 + i % 5, 1369699200 + i) for u, i in PAIRS])


def sessions(folder):
    """No header: session, moment, item, category."""
    rows = [(u, f"2014-04-{i:02d}T10:51:09.277Z", 214536500 + i, 0) for u, i in PAIRS]
    table(folder / "clicks.dat", "", rows)


def spaced(folder):
    """No header, spaces, nothing but pairs; and a text that is no table."""
    table(folder / "data.txt", "", PAIRS, " ")
    (folder / "README.txt").write_text(
        "Clicks of a month.\n\nEach line is a user and an item, in this order.\n"
    )


def clicks(folder):
    """A label that says whether the user liked it."""
    table(
        folder / "clicks.csv", "user_name,user_id,video_id,label", [(f"n{u}", u, i, i % 2) for u, i in PAIRS]
    )


def videos(folder):
    """Numbers of views in a table without a header that has the users' numbers too, lists in cells, kinds of events."""
    rows = [(u, i, 1583378629552 + i, "view") for u, i in PAIRS]
    table(folder / "pairs.csv", "user,item,timestamp,event", rows)
    rows = [(i, f'"the video, no {i}"', f'"[{i % 2}, {8 + i % 3}]"', 3 * i) for i in range(1, 11)]
    table(folder / "titles.csv", "item,title,tags,like_count", rows)
    table(folder / "likes_and_views.txt", "", [(i, 20 * i, 300 * i) for i in range(1, 13)], "\t")
    table(
        folder / "user_features.csv", "user,gender,review_count", [(u, "fm"[u % 2], u) for u in range(1, 13)]
    )


LAYOUTS = {
    movielens: {
        "interactions": "ratings.csv",
        "columns": {"user": "userId", "item": "movieId", "timestamp": "timestamp", "rating": "rating"},
        "items": {"file": "movies.csv", "id": "movieId"},
        "content": {"title": "text"},
    },
    fashion: {
        "interactions": "transactions_train.csv",
        "columns": {"user": "customer_id", "item": "article_id", "timestamp": "t_dat"},
        "users": {"file": "customers.csv", "id": "customer_id"},
        "items": {"file": "articles.csv", "id": "article_id"},
        "content": {
            "prod_name": "text",
            "photo": {"encoder": "image", "folder": "images", "names": "{id}.jpg"},
        },
    },
    reviews: {
        "interactions": "reviews.jsonl.gz",
        "columns": {"user": "user_id", "item": "parent_asin", "rating": "rating"},
        "items": {"file": "meta_reviews.jsonl.gz", "id": "parent_asin", "drop": ["images", "details"]},
        "content": {"title": "text", "categories": "category"},
    },
    older_reviews: {
        "interactions": "reviews_Beauty_5.json.gz",
        "columns": {"user": "reviewerID", "item": "asin", "timestamp": "unixReviewTime", "rating": "overall"},
        "items": {"file": "meta_Beauty.json.gz", "id": "asin", "drop": ["related"]},
        "content": {"title": "text", "categories": "category"},
    },
    music: {
        "interactions": "user_artists.dat",
        "columns": {"user": "userID", "item": "artistID"},
        "sep": "\t",
        "items": {"file": "artists.dat", "id": "id", "encoding": "latin-1", "drop": ["url"]},
        "content": {"name": "text"},
    },
    books: {
        "interactions": "ratings.csv",
        "columns": {"user": "User-ID", "item": "ISBN", "rating": "Book-Rating"},
        "sep": ";",
        "users": {"file": "users.csv", "id": "User-ID", "encoding": "latin-1"},
        "items": {"file": "books.csv", "id": "ISBN"},
        "content": {"Book_Title": {"encoder": "text", "columns": ["Book Title"]}},
    },
    bare: {
        "interactions": "ratings.csv",
        "columns": {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"},
        "header": ["user", "item", "rating", "timestamp"],
    },
    sessions: {
        "interactions": "clicks.dat",
        "columns": {"user": "user", "timestamp": "timestamp", "item": "item"},
        "header": ["user", "timestamp", "item", "column4"],
    },
    spaced: {
        "interactions": "data.txt",
        "columns": {"user": "user", "item": "item"},
        "sep": " ",
        "header": ["user", "item"],
    },
    clicks: {
        "interactions": "clicks.csv",
        "columns": {"user": "user_id", "item": "video_id", "rating": "label"},
        "positive_from": 1.0,
    },
    videos: {
        "interactions": "pairs.csv",
        "columns": {"user": "user", "item": "item", "timestamp": "timestamp"},
        "users": {"file": "user_features.csv", "id": "user", "drop": ["review_count"]},
        "items": {"file": "titles.csv", "id": "item", "drop": ["like_count"]},
        "content": {"title": "text", "tags": "category"},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_layouts_of_public_data_sets_are_read(layout, tmp_path):
    folder = tmp_path / layout.__name__
    folder.mkdir()
    layout(folder)
    guess = guess_card(folder)
    assert guess.card.options == LAYOUTS[layout], guess.reasons
    (folder / "card.yaml").write_text(
        yaml.safe_dump(guess.card.model_dump(mode="json", exclude_defaults=True))
    )
    data = load_dataset(folder.name, tmp_path)
    liked = PAIRS if layout is not clicks else [(u, i) for u, i in PAIRS if i % 2]
    assert len(data.interactions) == len(set(liked))
    assert all(modality.mask.all() for modality in data.modalities.values())


def parts(folder, header="user_id,item_id,rating"):
    """A file for each part of a split."""
    for part, kept in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        rows = [(u, i, i % 5) for u, i in PAIRS if (u + i) % 4 in kept]
        table(folder / f"my_{part}.csv", header, rows)


@pytest.mark.parametrize("header", ["user_id,item_id,rating", ""])
def test_ratings_that_all_count_are_told_and_files_of_parts_are_a_split(tmp_path, header):
    parts(tmp_path / "parts", header)
    guess = guess_card(tmp_path / "parts")
    said = "\n".join(guess.reasons)
    assert "'rating' goes from 0 to 4, and every row counts" in said and "not used" not in said
    files = {"train": "my_train.csv", "valid": "my_val.csv", "test": "my_test.csv"}
    assert guess.card.options["interactions"] == files and list(guess.card.files) == list(files.values())
    (tmp_path / "parts" / "card.yaml").write_text(
        yaml.safe_dump(guess.card.model_dump(mode="json", exclude_defaults=True))
    )
    read = load_dataset("parts", tmp_path).interactions
    assert read["label"].value_counts().to_dict() == {
        label: sum((u + i) % 4 in kept for u, i in PAIRS) for label, kept in enumerate([(0, 1), (2,), (3,)])
    }


def test_items_without_a_row_are_allowed_and_told(tmp_path):
    table(tmp_path / "s" / "train.csv", "user,item", [(u, f"i{i}") for u, i in PAIRS if i < 9])
    table(tmp_path / "s" / "test.csv", "user,item", [(u, f"i{i}") for u, i in PAIRS if i >= 9])
    table(tmp_path / "s" / "items.csv", "item,name", [(f"i{i}", f"a thing {i}") for i in range(1, 10)])
    guess = guess_card(tmp_path / "s")
    assert guess.card.options["min_joined"] == 0.8571 and "85.7% of the items' ids; min_joined" in str(
        guess.reasons
    )
    (tmp_path / "s" / "card.yaml").write_text(
        yaml.safe_dump(guess.card.model_dump(mode="json", exclude_defaults=True))
    )
    assert load_dataset("s", tmp_path).modalities["name"].mask.sum() == 9


@pytest.mark.parametrize(("one", "other"), [(";", ","), (",", ";"), ("\t", ","), (",", "\t"), (";", ";")])
def test_tables_with_separators_of_their_own_are_read(tmp_path, one, other):
    suffix = ".dat" if "\t" in (one, other) else ".csv"
    table(tmp_path / "s" / f"log{suffix}", one.join(["user", "item"]), PAIRS, one)
    rows = [(i, f"a thing {i}") for i in range(1, 11)]
    table(tmp_path / "s" / f"items{suffix}", other.join(["item", "name"]), rows, other)
    card = guess_card(tmp_path / "s").card.model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "s" / "card.yaml").write_text(yaml.safe_dump(card))
    assert load_dataset("s", tmp_path).modalities["name"].mask.all()


def test_a_second_table_of_interactions_is_told(tmp_path):
    table(tmp_path / "two" / "bought.csv", "user,item,amount", [(u, i, 1) for u, i in PAIRS])
    table(tmp_path / "two" / "seen.csv", "user,item", PAIRS[:40])
    said = "\n".join(guess_card(tmp_path / "two").reasons)
    assert "users and items are also in seen.csv, which is shorter and not read" in said


def test_tables_beside_the_items_become_content(tmp_path):
    """Genres and countries; codes beside names, what users tagged, what changes and a table of every pair are left."""
    folder, films = tmp_path / "h", range(1, 13)
    table(folder / "user_rated.dat", "userID\tmovieID", PAIRS, "\t")
    table(folder / "movies.dat", "id\ttitle", [(i, f"a film {i}") for i in films], "\t")
    genres = [(i, g, f"g{g}", i + g) for i in films for g in (i % 2, 2)]
    table(folder / "movie_genres.dat", "movieID\tgenreID\tgenre\tcount", genres, "\t")
    table(
        folder / "movie_countries.dat",
        "movieID\tcountry",
        [(i, "FI" if i % 3 else "DE") for i in films],
        "\t",
    )
    table(folder / "genome.dat", "movieID\ttagID", [(i, t) for i in films for t in (1, 2)], "\t")
    table(folder / "user_tags.dat", "userID\tmovieID\ttag", [(1, i, "fun") for i in films], "\t")
    table(folder / "properties.dat", "time\tmovieID\tkey", [(i, i, f"k{i % 2}") for i in films], "\t")
    records = [{"movieID": str(i), "kind": ["a", "b"][i % 2 :], "more": {"x": i}} for i in films]
    (folder / "kinds.json").write_text("\n".join(map(json.dumps, records)))
    guess = guess_card(folder)
    own = {"encoder": "category", "id": "movieID"}
    assert guess.card.options["items"] == {"file": "movies.dat", "id": "id"}
    assert guess.card.options["content"] == {
        "title": "text",
        "country": own | {"file": "movie_countries.dat", "columns": ["country"]},
        "genre": own | {"file": "movie_genres.dat", "columns": ["genre"]},
        "kind": own | {"file": "kinds.json", "columns": ["kind"]},
    }
    assert "not used: genome.dat, properties.dat, user_tags.dat" in guess.reasons
    card = guess.card.model_dump(mode="json", exclude_defaults=True)
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    data = load_dataset("h", tmp_path)
    assert data.modalities["genre"].width == 3 and data.modalities["country"].width == 2
    assert data.item_attributes["genre"][0] == "g1|g2"


def test_what_is_left_out_of_videos_is_told_with_its_reason(tmp_path):
    (tmp_path / "v").mkdir()
    videos(tmp_path / "v")
    said = "\n".join(guess_card(tmp_path / "v").reasons)
    assert "not read of its columns: event; rows of every event count alike" in said
    assert "'like_count' is not read: by its name it sums up what users did" in said


@pytest.mark.parametrize(
    ("cells", "encoder"),
    [
        (["$9.50", "$1,200.00", "12 EUR"], "number"),
        (["Name 1", "Name 2", "Name 3"], "text"),
        (["000001X", "000002X", "000003Y"], None),
        (['"[0.5, 0.1]"', '"[1.0, 2.0]"', '"[3, 4.5]"'], "vector"),
        (['"[5, 6]"', '"[6]"', '"[]"'], "category"),
        (["\"['a', 'b']\"", "\"['b']\"", "\"['a']\""], "category"),
    ],
)
def test_what_a_column_of_items_becomes(tmp_path, cells, encoder):
    table(tmp_path / "s" / "log.csv", "user,item", [(u, f"i{i}") for u, i in PAIRS if i < 4])
    quoted = [cell if cell.startswith('"') else f'"{cell}"' for cell in cells]
    table(tmp_path / "s" / "items.csv", "item,what", [(f"i{n}", cell) for n, cell in enumerate(quoted, 1)])
    guess = guess_card(tmp_path / "s")
    assert guess.card.options.get("content", {}).get("what") == encoder, guess.reasons


def test_what_a_name_says_and_the_values_do_not_is_told(tmp_path):
    rows = [(u, i, "last week", "good") for u, i in PAIRS]
    table(tmp_path / "odd" / "log.csv", "user,item,time,rating", rows)
    guess = guess_card(tmp_path / "odd")
    assert guess.card.options["columns"] == {"user": "user", "item": "item"}
    said = "\n".join(guess.reasons)
    assert "'time' is not read as timestamp" in said and "'rating' is not read as rating" in said


@given(st.sampled_from([",", ";", "\t", "|", "::", " "]), st.booleans(), st.sampled_from([".txt", ".dat"]))
@settings(deadline=None, max_examples=20)
def test_any_separator_is_found(sep, header, suffix):
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "any"
        names = "user_id item_id rating".replace(" ", sep)
        table(folder / f"log{suffix}", names if header else "", [(u, i, i % 5) for u, i in PAIRS], sep)
        options = guess_card(folder).card.options
        assert options.get("sep", ",") == sep and ("header" in options) is not header
        assert len(options["columns"]) == 3
