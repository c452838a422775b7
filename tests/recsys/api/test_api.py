"""The public names, used as a stranger would: frames in, figures and recommendations out."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch

import recsys
from recsys.inputs.train_settings import TrainSettings
from recsys.models import MODELS
from recsys.runs.run import make_evaluator, training_data
from recsys.runs.versions import data_checksum

CLICKS = pd.DataFrame(
    {
        "customer": ["ann", "ann", "bob", "bob", "cy", "cy", "ann"],
        "sku": [1, 2, 2, 3, 1, 3, 2],
        "stars": [5, 4, 3, 5, 4, 4, 4],
        "at": pd.to_datetime(["2024-01-01"] * 7, utc=True),
    }
)
PRODUCTS = pd.DataFrame(
    {
        "sku": [1, 2, 3, 4],
        "title": ["red lamp", "red rug", "blue lamp", None],
        "kind": [["light", "home"], ["home"], ["light"], []],
        "price": [10.0, 20.0, None, 40.0],
        "vec": [[1.0, 0.0], [0.0, 1.0], None, [0.5, 0.5]],
    }
)
CONTENT = {"title": "text", "kind": "category", "price": "number", "vec": "vector"}


def from_frame(clicks=CLICKS, products=PRODUCTS, **changes):
    options = {"user": "customer", "item": "sku", "items": products, "content": CONTENT} | changes
    return recsys.Dataset.from_frame(clicks, **options)


@pytest.fixture(scope="module")
def data():
    return recsys.toy_data()


@pytest.fixture(scope="module")
def run(data):
    return recsys.train("vbpr", data, split="cold-item", max_epochs=2)


def arrived(**columns):
    return pd.DataFrame({"sku": ["n1", "n2"], "title": ["red pan", "blue hose"]} | columns)


def test_import_is_light():
    code = "import sys, recsys; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_frame_becomes_a_dataset():
    made = from_frame(rating="stars", timestamp="at")
    assert made.user_ids.tolist() == ["ann", "bob", "cy"]
    assert made.item_ids.tolist() == ["1", "2", "3", "4"]
    assert len(made.interactions) == 6 and any("1 duplicate" in note for note in made.notes)
    assert made.interactions["timestamp"].iloc[0] == pd.Timestamp("2024-01-01", tz="UTC").timestamp()
    masks = {name: m.mask.tolist() for name, m in made.modalities.items()}
    assert masks == {
        "title": [True, True, True, False],
        "kind": [True, True, True, False],
        "price": [True, True, False, True],
        "vec": [True, True, False, True],
    }
    kind = made.modalities["kind"].features  # columns: home, light
    np.testing.assert_allclose(kind[:3], [[0.5**0.5] * 2, [1, 0], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(made.modalities["vec"].features[0], [1, 0])
    np.testing.assert_allclose(made.modalities["price"].features.sum(axis=1), [1, 1, 0, 1], rtol=1e-6)
    assert list(made.item_attributes) == ["title", "kind", "price"]
    assert made.item_attributes["kind"].tolist() == ["light|home", "home", "light", ""]


def test_only_ratings_from_a_threshold_count():
    made = from_frame(rating="stars", positive_from=4)
    pairs = zip(
        made.user_ids[made.interactions["user"]], made.item_ids[made.interactions["item"]], strict=True
    )
    assert sorted(pairs) == [("ann", "1"), ("ann", "2"), ("bob", "3"), ("cy", "1"), ("cy", "3")]


@pytest.mark.parametrize("convert", [pl.from_pandas, lambda frame: pl.from_pandas(frame).to_arrow()])
def test_frames_of_other_libraries_give_the_same(convert):
    assert data_checksum(from_frame(convert(CLICKS), convert(PRODUCTS))) == data_checksum(from_frame())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": "costumer"}, "no column costumer"),
        ({"clicks": [1, 2]}, "expected a frame"),
        ({"content": {"titel": "text"}}, "did you mean 'title'"),
        ({"content": {"title": "txt"}}, "there is no content encoder 'txt'"),
        ({"content": {"title": "number"}}, "'red lamp' is not a finite number"),
        ({"content": {"title": "vector"}}, "not a list of finite numbers"),
        ({"products": pd.concat([PRODUCTS, PRODUCTS])}, "occurs twice"),
        ({"clicks": CLICKS.assign(customer=None)}, "customer is empty"),
        ({"positive_from": 3}, "name their column with rating="),
        ({"name": "a b"}, "expected letters"),
    ],
)
def test_frames_that_do_not_fit_end_in_one_line(changes, message):
    with pytest.raises(recsys.UserError, match=message.replace("(", r"\(")) as error:
        from_frame(**changes)
    assert "\n" not in str(error.value)


def test_pictures_of_like_colours_are_near(tmp_path):
    from PIL import Image

    for name, colour in {"a": (250, 0, 0), "b": (240, 10, 5), "c": (0, 0, 250)}.items():
        Image.new("RGB", (40, 20), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "d.png").write_bytes(b"no picture")
    paths = [str(tmp_path / f"{name}.png") for name in "abcd"]
    made = from_frame(products=PRODUCTS.assign(photo=paths), content={"photo": "image"})
    photo = made.modalities["photo"]
    assert photo.mask.tolist() == [True, True, True, False]
    cosines = photo.features @ photo.features[0]
    assert cosines[1] > 0.99 > cosines[2]
    assert "photo" not in made.item_attributes


def test_a_run_tells_its_figures(run, data):
    assert run.metrics.test["ndcg@20"] == run.metrics.frame.loc["test", "ndcg@20"]
    assert {"test", "warm", "cold", "cold_pool"} <= set(run.metrics.users)
    with pytest.raises(recsys.UserError, match=r"'ndcg@7' was not measured.*metrics=\['ndcg@7'\]"):
        run.metrics.test["ndcg@7"]
    with pytest.raises(AttributeError, match="no figures of 'cold_users'"):
        _ = run.metrics.cold_users
    mean = run.per_user.query("group == 'overall'")["ndcg@20"].mean()
    assert mean == pytest.approx(run.metrics.test["ndcg@20"])
    assert run.per_user["user"].tolist() == data.user_ids[run.per_user["number"]].tolist()


def test_recommendations_leave_out_what_is_known(run, data):
    frame = run.recommend(["u1", "u2"], k=5)
    assert frame["user"].tolist() == ["u1"] * 5 + ["u2"] * 5
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    pairs = data.interactions
    known = set(zip(data.user_ids[pairs["user"]], data.item_ids[pairs["item"]], strict=True))
    everything = run.recommend(k=data.n_items)
    assert not known & set(zip(everything["user"], everything["item"], strict=True))
    assert len(everything) == data.n_users * data.n_items - len(pairs)
    study = run.recommend(k=data.n_items, held_out=True)
    assert study["held_out"].sum() == len(run.split.test)
    assert len(run.recommend()["user"].unique()) == data.n_users


def test_raw_content_places_new_items_as_the_catalogue_is_placed(run, data):
    twin = data.item_attributes.iloc[[7]].assign(sku="twin")
    cold = data.item_ids[np.flatnonzero(run.split.cold_items)[0]]
    place = int(np.flatnonzero(data.item_ids == cold)[0])
    twin = data.item_attributes.iloc[[place]].assign(sku="twin")
    scorer = run.model.scorer()
    frame = run.recommend(["u3"], new_items=twin)
    user = int(np.flatnonzero(data.user_ids == "u3")[0])
    assert frame["score"].iloc[0] == pytest.approx(float(scorer(np.array([user]))[0, place]), abs=1e-5)
    assert len(run.recommend(["u3"], new_items=pl.from_pandas(arrived()), pool="all", k=99)) > 2


def test_new_users_come_as_a_mapping_or_a_frame(run, data):
    one = run.recommend(new_users={"zoe": ["p01", "p02"], "abe": []}, k=3)
    rows = pd.DataFrame({"user": ["zoe", "zoe", "abe"], "sku": ["p01", "p02", ""]})
    pd.testing.assert_frame_equal(one, run.recommend(new_users=rows, k=3))
    assert "1 of 2 users have no interactions" in one.attrs["notes"][0]
    assert not set(one.query("user == 'zoe'")["item"]) & {"p01", "p02"}
    assert run.recommend(["zoe"], new_users=rows, k=3)["user"].unique().tolist() == ["zoe"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": ["u9x"]}, "has no user 'u9x'"),
        ({"users": []}, "users is empty"),
        ({"users": ["u1"], "k": 0}, "k is 0"),
        ({"pool": "all"}, "give new_items"),
        ({"pool": "some"}, "expected 'new'"),
        ({"new_items": arrived(colour="red")}, "'colour' is no modality or item attribute"),
        ({"new_items": arrived().assign(sku=["p01", "n2"])}, "item 'p01' is not new"),
        ({"new_users": {"u1": ["p01"]}}, "user 'u1' is not new"),
        ({"new_users": {"zoe": ["p99"]}}, "has no item 'p99'"),
        ({"new_users": 3}, "expected a frame"),
    ],
)
def test_what_cannot_be_recommended_ends_in_one_line(run, arguments, message):
    with pytest.raises(recsys.UserError, match=message) as error:
        run.recommend(**arguments)
    assert "\n" not in str(error.value)


def test_similar_items_are_the_nearest_by_cosine(run, data):
    _, items = run.model.embed(run.model.data.query_users())
    items = torch.nn.functional.normalize(items, dim=1)
    cosines = (items @ items[5]).numpy()
    cosines[5] = -np.inf
    frame = run.similar_items(data.item_ids[5], k=4)
    assert frame["item"].tolist() == data.item_ids[np.argsort(-cosines)[:4]].tolist()
    np.testing.assert_allclose(frame["similarity"], np.sort(cosines)[::-1][:4], rtol=1e-5)
    assert "title" in frame
    assert data.user_ids[0] not in run.similar_users(data.user_ids[0], k=200)["user"].tolist()


def test_what_has_no_vectors_says_so(data):
    ease = recsys.train("ease", data)
    with pytest.raises(recsys.UserError, match="ease has no vectors"):
        ease.similar_items("p01")


def test_a_saved_run_answers_alike_after_a_move(run, data, tmp_path):
    run.save(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "second")
    again = recsys.load_run(tmp_path / "second")
    assert again.metrics.values == run.metrics.values
    assert data_checksum(again.dataset) == data_checksum(data)
    pd.testing.assert_frame_equal(again.recommend(["u1"], 5), run.recommend(["u1"], 5))
    pd.testing.assert_frame_equal(
        again.recommend(["u1"], new_items=arrived()), run.recommend(["u1"], new_items=arrived())
    )
    with pytest.raises(recsys.UserError, match="is not empty"):
        run.save(tmp_path / "second")
    with pytest.raises(recsys.UserError, match="is not a run's folder"):
        recsys.load_run(tmp_path)


def test_the_command_line_takes_a_saved_run_up(run, tmp_path):
    """`recsys recommend` with new items given by raw content, under the names of the frame that was trained on."""
    from recsys.cli.app import main

    run.save(tmp_path / "run")
    arrived().to_csv(tmp_path / "arrived.csv", index=False)
    given = ["--run", str(tmp_path / "run"), "--user", "u1", "--new-items", str(tmp_path / "arrived.csv")]
    with pytest.raises(SystemExit) as ended:
        main(["recommend", *given, "--output", str(tmp_path / "made.csv")])
    assert ended.value.code == 0
    made = pd.read_csv(tmp_path / "made.csv")
    expected = run.recommend(["u1"], new_items=arrived())
    assert made["item"].tolist() == expected["item"].tolist()
    np.testing.assert_allclose(made["score"], expected["score"], rtol=1e-5)


def test_a_folder_is_resumed_and_guards_its_data(data, tmp_path):
    options = {"split": "random", "max_epochs": 2, "folder": tmp_path / "run"}
    first = recsys.train("bpr", data, **options)
    again = recsys.train("bpr", data, resume=True, **options)
    assert again.metrics.values == first.metrics.values
    with pytest.raises(recsys.UserError, match="is not empty"):
        recsys.train("bpr", data, **options)
    with pytest.raises(recsys.UserError, match="holds a run on other data"):
        recsys.train("bpr", recsys.toy_data(seed=1), resume=True, **options)
    with pytest.raises(recsys.UserError, match="name it with folder="):
        recsys.train("bpr", data, resume=True)


def test_models_come_from_names_keywords_and_settings(data):
    settings = MODELS.get("ease").Settings(content=0.5)
    specs = [recsys.EASE(content=0.5), recsys.EASE(settings), recsys.model("ease", content=0.5)]
    runs = [recsys.train(spec, data) for spec in specs] + [recsys.train("ease", data, content=0.5)]
    assert len({run.metrics.test["ndcg@20"] for run in runs}) == 1
    assert recsys.train(recsys.EASE, data).config.settings["content"] != 0.5
    for wrong, message in [
        (lambda: recsys.EASE(contents=1), "did you mean 'content'"),
        (lambda: recsys.EASE(content=-1), "content"),
        (lambda: recsys.BPR(settings), "expected settings of type"),
        (lambda: recsys.train("eas", data), "did you mean 'ease'"),
        (lambda: recsys.train(3, data), "expected a model's name"),
        (lambda: recsys.train("ease", CLICKS), "Dataset.from_frame"),
        (lambda: recsys.train("ease", data, contents=1), "did you mean 'content'"),
        (lambda: recsys.train("ease", data, metrics=["ndgc@5"]), "ndcg"),
    ]:
        with pytest.raises(recsys.UserError, match=message):
            wrong()


def test_no_setting_is_hidden_by_an_argument_of_train():
    import inspect

    arguments = set(inspect.signature(recsys.train).parameters)
    for name in MODELS.builtin:
        assert not arguments & {*MODELS.get(name).Settings.model_fields, *TrainSettings.model_fields}, name


def test_lists_scores_and_the_model_itself_measure_alike(run, data):
    config = run.config
    truth = make_evaluator(data, run.split, training_data(config, data, run.split), "test")
    assert "ndcg@20" in truth.metrics
    scores = run.model.scorer()(np.arange(data.n_users)).numpy()
    options = {"split": "cold-item"}
    by_matrix = recsys.evaluate(scores, data, **options)
    lists = run.recommend(k=data.n_items, held_out=True)
    by_lists = recsys.evaluate(lists, data, **options)
    by_ranks = recsys.evaluate(pl.from_pandas(lists.drop(columns="score")), data, **options)
    for one in (by_matrix, recsys.evaluate(torch.from_numpy(scores), data, **options), by_lists, by_ranks):
        assert one.metrics.test == pytest.approx(run.metrics.test)
    best = sp.csr_array(scores * (scores > np.median(scores)))
    frame = pd.DataFrame(
        {
            "user": data.user_ids[best.tocoo().coords[0]],
            "sku": data.item_ids[best.tocoo().coords[1]],
            "score": best.data,
        }
    )
    assert recsys.evaluate(best, data).metrics.test == recsys.evaluate(frame, data).metrics.test


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 4)), "expected a matrix of 90 users x 60 items"),
        (np.full((90, 60), np.nan), "NaN"),
        (pd.DataFrame({"user": ["u1"], "item": ["p01"]}), "no column score"),
        (pd.DataFrame({"user": ["u1"], "item": ["p99"], "score": [1.0]}), "row 0: 'toy' has no item 'p99'"),
        (pd.DataFrame({"user": ["u1"] * 2, "item": ["p01"] * 2, "score": [1.0, 2.0]}), "occurs twice"),
        (pd.DataFrame({"user": ["u1"], "item": ["p01"], "score": ["high"]}), "expected numbers"),
    ],
)
def test_lists_that_do_not_fit_end_in_one_line(data, given, message):
    with pytest.raises(recsys.UserError, match=message) as error:
        recsys.evaluate(given, data)
    assert "\n" not in str(error.value)


def test_a_comparison_ranks_models_and_given_lists(data, tmp_path):
    rng = np.random.default_rng(0)
    lists = recsys.evaluate(rng.random((data.n_users, data.n_items)), data, split="random", name="noise")
    rows = ["ease", recsys.BPR(max_epochs=2), lists]
    compared = recsys.compare(rows, data, seeds=[0, 1], split="random", folder=tmp_path, metrics=["recall@5"])
    table = compared.table
    assert list(table.columns) == ["recall@5", "ndcg@20", "verdict", "seeds"]
    assert set(table.index) == {"ease", "bpr (max_epochs=2)", "noise"}
    assert table.loc["noise", "ndcg@20"] == pytest.approx(lists.metrics.test["ndcg@20"])
    alone = recsys.train("ease", data, split="random")
    assert table.loc["ease", "ndcg@20"] == alone.metrics.test["ndcg@20"]
    assert compared.verdicts.loc["noise", "verdict"] == "worse"
    assert "noise" in compared.to_markdown() and "toprule" in compared.to_latex()
    again = recsys.compare(rows, data, seeds=[0, 1], split="random", folder=tmp_path, metrics=["recall@5"])
    pd.testing.assert_frame_equal(again.table, table)


def test_a_comparison_in_several_processes_is_the_same(data):
    rows = {"one": "pop", "two": recsys.EASE(content=0.5)}
    tables = [recsys.compare(rows, data, split="random", processes=n).table for n in (1, 2)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ("pop", {}, "give a list"),
        (["pop", "pop"], {}, "two rows are called 'pop'"),
        (["pop", "ease"], {"decide_by": "ndcg"}, "ndcg"),
        (["pop", "ease"], {"reference": "eas"}, "ease"),
        (["pop", "ease"], {"split": "randon"}, "random"),
    ],
)
def test_comparisons_that_cannot_be_end_in_one_line(data, rows, changes, message):
    with pytest.raises(recsys.UserError, match=message):
        recsys.compare(rows, data, **changes)


def test_a_comparisons_folder_guards_its_data(data, tmp_path):
    recsys.compare(["pop"], data, split="random", seeds=[0], folder=tmp_path)
    with pytest.raises(recsys.UserError, match="holds a run on other data"):
        recsys.compare(["pop"], recsys.toy_data(seed=1), split="random", seeds=[0], folder=tmp_path)


def test_lists_of_another_test_are_refused(data):
    lists = recsys.evaluate(np.zeros((data.n_users, data.n_items)), data, split="random")
    with pytest.raises(recsys.UserError, match="evaluated with split 'random', the models with 'cold-item'"):
        recsys.compare(["pop", lists], data, split="cold-item")
    with pytest.raises(recsys.UserError, match="split_seed 0"):
        recsys.compare(["pop", lists], data, split="random", split_seeds=[1])
