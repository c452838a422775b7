"""What each format means, on files small enough to work out by hand."""

import json
from fractions import Fraction
from math import log, sqrt

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.datasets.assembly import assemble, make_modality
from recsys.datasets.cards import Card
from recsys.datasets.checks import number_ids, positions, to_codes
from recsys.datasets.content.features import facts_modality
from recsys.datasets.dataset import Modality
from recsys.datasets.readers import READERS, guess_reader
from recsys.errors import DataError


def load(folder, reader, **options):
    return READERS.get(reader)(folder, Card(name="tiny", reader=reader, options=options))


def write_inter(folder, text="userID\titemID\tx_label\n0\t0\t0\n1\t2\t1\n"):
    (folder / "tiny.inter").write_text(text)


def test_ids_sort_as_numbers_only_where_all_are_numbers():
    assert number_ids(np.array(["10", "9", "2"], dtype=object)).tolist() == ["2", "9", "10"]
    assert number_ids(np.array(["10", "9", "x"], dtype=object)).tolist() == ["10", "9", "x"]
    assert number_ids(np.array(["007", "7"], dtype=object)).tolist() == ["007", "7"]


IDS = st.one_of(
    st.integers(-30, 30).map(str), st.integers().map(str), st.sampled_from(["07", "+7", " 7", "-0", "x", ""])
)


@settings(deadline=None)
@given(st.lists(IDS, unique=True, max_size=8), st.lists(IDS, max_size=8))
def test_places_of_ids_are_those_of_their_texts(ids, tokens):
    found = positions(np.array(ids, dtype=str), np.array(tokens, dtype=object))
    assert found.tolist() == [ids.index(token) if token in ids else -1 for token in tokens]


@settings(deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), min_size=1, max_size=8),
    st.sampled_from([np.int64, np.int8, np.uint8, np.uint64]),
)
def test_codes_of_whole_numbers_are_numbered_in_their_order(values, dtype):
    column = pd.Series(
        np.array([value % 2**64 for value in values], dtype=np.uint64).astype(dtype), name="user"
    )
    codes = to_codes(column, "x.parquet")
    texts = [str(value) for value in column.tolist()]
    assert codes.distinct.tolist() == [str(value) for value in sorted(set(column.tolist()))]
    assert codes.distinct[codes.numbers].tolist() == texts


# mmrec


def test_mmrec_keeps_rating_and_timestamp(tmp_path):
    write_inter(
        tmp_path, "userID\titemID\trating\ttimestamp\tx_label\n1\t0\t4.5\t99\t0\n0\t2\t3\t1400000000\t2\n"
    )
    frame = load(tmp_path, "mmrec").interactions
    assert frame["user"].tolist() == [0, 1] and frame["label"].tolist() == [2, 0]
    assert frame["rating"].tolist() == [3, 4.5] and frame["timestamp"].tolist() == [1_400_000_000, 99]


def test_the_folders_only_inter_file_will_do(tmp_path):
    write_inter(tmp_path)
    (tmp_path / "tiny.inter").rename(tmp_path / "baby.inter")
    assert load(tmp_path, "mmrec").n_items == 3


def test_mmrec_gaps_are_users_and_items_without_interactions(tmp_path):
    write_inter(tmp_path, "userID\titemID\tx_label\n0\t0\t0\n3\t2\t0\n")
    dataset = load(tmp_path, "mmrec")
    assert (dataset.n_users, dataset.n_items) == (4, 3)
    np.save(tmp_path / "image_feat.npy", np.ones((7, 2)))
    assert load(tmp_path, "mmrec").n_items == 7


def test_half_precision_is_widened_before_it_is_summed(tmp_path):
    write_inter(tmp_path)
    half = np.full((3, 4), 60_000, dtype=np.float16)
    with np.errstate(over="ignore"):
        assert np.isinf(half.sum(axis=1)).all()
    np.save(tmp_path / "audio_feat.npy", half)
    features = load(tmp_path, "mmrec").modalities["audio"].features
    assert features.sum(axis=1).tolist() == [240_000] * 3


def test_duplicates_keep_the_earliest(tmp_path):
    rows = "0\t0\t5\t30\t0\n0\t0\t1\t20\t0\n0\t1\t2\t10\t0\n"
    write_inter(tmp_path, "userID\titemID\trating\ttimestamp\tx_label\n" + rows)
    dataset = load(tmp_path, "mmrec")
    assert dataset.interactions["timestamp"].tolist() == [20, 10] and dataset.interactions["rating"][0] == 1
    assert dataset.notes == ("tiny.inter: 1 duplicate interactions merged",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0\t0\t0\n\n1\t1.5\t0\n", "line 4: itemID is '1.5', expected an integer"),
        ("0\t0\t0\n1\t\t0\n", "line 3: itemID is 'nan', expected an integer"),
        ("0\t0\t0\n1\t1\t3\n", r"line 3: x_label is '3', expected 0 \(train\)"),
        ("0\t0\t0\n0\t99999999999\t0\n", "itemID 99999999999 cannot be a row number among 2 interactions"),
        ("0\t0\t0\n1\t1\t0\t7\n", "cannot be read as a table"),
    ],
)
def test_mmrec_names_the_line(tmp_path, lines, message):
    write_inter(tmp_path, "userID\titemID\tx_label\n" + lines)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, "mmrec")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}, {}, {}], dtype=object), r"not a whole \.npy array of numbers"),
        (np.ones(3), "expected a matrix"),
        (np.full((3, 2), "a"), "expected a numeric matrix"),
        (np.ones((3, 0)), "expected a numeric matrix"),
        (np.full((3, 2), 1e200), "row 0 .*overflows float32"),
    ],
)
def test_features_must_be_a_finite_matrix(tmp_path, array, message):
    write_inter(tmp_path)
    np.save(tmp_path / "image_feat.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "mmrec")


def test_an_archive_is_no_array(tmp_path):
    write_inter(tmp_path)
    with open(tmp_path / "image_feat.npy", "wb") as file:
        np.savez(file, a=np.ones((3, 2)))
    with pytest.raises(DataError, match="found an archive"):
        load(tmp_path, "mmrec")


def test_mmrec_without_its_inter_file(tmp_path):
    with pytest.raises(DataError, match=r"expected tiny\.inter, found none"):
        load(tmp_path, "mmrec")
    (tmp_path / "tiny.inter").write_bytes(b"userID\titemID\tx_label\n\xff\xfe\t0\t0\n")
    with pytest.raises(DataError, match="cannot be read as a table"):
        load(tmp_path, "mmrec")


# lattice


def test_lattice_counts_users_with_empty_lists(tmp_path):
    for part, lists in {"train": {"0": [1], "1": [0, 2]}, "val": {"2": []}, "test": {"0": [2]}}.items():
        (tmp_path / f"{part}.json").write_text(json.dumps(lists))
    dataset = load(tmp_path, "lattice")
    assert (dataset.n_users, dataset.n_items) == (3, 3)
    assert dataset.interactions.to_numpy().tolist() == [[0, 1, 0], [0, 2, 2], [1, 0, 0], [1, 2, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"x": [1]}', "user x: user id is 'x', expected an integer"),
        ('{"1": [1.5]}', "user 1: item is '1.5', expected an integer"),
        ('{"1": 3}', "expected an object of user"),
    ],
)
def test_lattice_names_the_file(tmp_path, text, message):
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}.json").write_text('{"0": [1]}' if part == "val" else "{}")
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(DataError, match=rf"train\.json: .*{message}"):
        load(tmp_path, "lattice")


# atomic files of a split's parts


def test_atomic_files_of_parts_are_a_split(tmp_path):
    head = "user_id:token\titem_id:token\tlabel:float\n"
    (tmp_path / "x.train.inter").write_text(head + "a\ti\t1\nb\ti\t1\nb\tj\t0\n")
    (tmp_path / "x.test.inter").write_text(head + "a\tj\t1\n")
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\ni\tred\nj\tblue\n")
    assert guess_reader(tmp_path) == "atomic"
    dataset = load(tmp_path, "atomic")
    assert dataset.interactions[["user", "item", "label"]].to_numpy().tolist() == [
        [0, 0, 0],
        [0, 1, 2],
        [1, 0, 0],
    ]
    assert dataset.item_attributes["title"].tolist() == ["red", "blue"]
    (tmp_path / "x.test.inter").write_text(head + "a\t\t1\n")
    with pytest.raises(DataError, match=r"line 2 of x\.test\.inter: item_id is empty"):
        load(tmp_path, "atomic")


# lists


def write_lists(folder, train="0 1\n1 0 2 2\n2\n", test="0 2\n2 \n"):
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)


def test_lists_need_no_validation_and_keep_users_without_items(tmp_path):
    write_lists(tmp_path)
    dataset = load(tmp_path, "lists")
    assert (dataset.n_users, dataset.n_items) == (3, 3)
    assert dataset.interactions.to_numpy().tolist() == [[0, 1, 0], [0, 2, 2], [1, 0, 0], [1, 2, 0]]
    (tmp_path / "val.txt").write_text("2 1\n")
    assert load(tmp_path, "lists").interactions.to_numpy().tolist()[-1] == [2, 1, 1]
    assert guess_reader(tmp_path) == "lists"
    (tmp_path / "valid.txt").write_text("2 1\n")
    with pytest.raises(DataError, match=r"holds valid\.txt and val\.txt"):
        load(tmp_path, "lists")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_of_lists_may_end_as_on_other_systems(tmp_path, end):
    write_lists(tmp_path)
    before = load(tmp_path, "lists").interactions
    for path in tmp_path.glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    assert load(tmp_path, "lists").interactions.equals(before)


def test_a_user_of_lists_has_one_line(tmp_path):
    write_lists(tmp_path, "0 1\n1 0\n0 2\n")
    with pytest.raises(DataError, match=r"train\.txt: user 0 has two lines"):
        load(tmp_path, "lists")


@pytest.mark.parametrize("text", ["0 1\n0 2\n1 1\n", "user item\n0 1\n", "", "0 1.5\n"])
def test_pairs_and_tables_are_no_lists(tmp_path, text):
    write_lists(tmp_path, text)
    assert guess_reader(tmp_path) is None


# citeulike


def write_citeulike(folder):
    (folder / "users.dat").write_text("2 0 2\n0\n1 1\n")
    (folder / "item-tag.dat").write_text("2 0 1\n1 0\n0\n")
    (folder / "tags.dat").write_text("graph\ntext\nunused\n")
    (folder / "citations.dat").write_text("1 1\n1 1\n1 0\n")


def test_citeulike_weights(tmp_path):
    write_citeulike(tmp_path)
    dataset = load(tmp_path, "citeulike")
    assert dataset.interactions.to_numpy().tolist() == [[0, 0], [0, 2], [2, 1]] and dataset.n_users == 3
    # Three items: tag 0 on two, tag 1 on one; smoothed idf = 1 + log((1 + n) / (1 + df)).
    common, rare = 1 + log(Fraction(4, 3)), 1 + log(Fraction(4, 2))
    norm = sqrt(common**2 + rare**2)
    tags = dataset.modalities["tags"]
    np.testing.assert_allclose(
        tags.features.toarray(), [[common / norm, rare / norm, 0], [1, 0, 0], [0, 0, 0]], rtol=1e-6
    )
    assert tags.mask.tolist() == [True, True, False]
    # Links 0-1 and 0-2 count both ways, item 1's own says nothing; each item is among its links.
    third, half = sqrt(Fraction(1, 3)), sqrt(0.5)
    links = dataset.modalities["citations"].features.toarray()
    np.testing.assert_allclose(links, [[third, third, third], [half, half, 0], [half, 0, half]], rtol=1e-6)


def test_citeulike_an_item_without_links_has_no_citations(tmp_path):
    write_citeulike(tmp_path)
    (tmp_path / "citations.dat").write_text("1 1\n0\n1 2\n")
    assert load(tmp_path, "citeulike").modalities["citations"].mask.tolist() == [True, True, False]


def test_citeulike_without_side_files_and_with_wrong_ones(tmp_path):
    write_citeulike(tmp_path)
    (tmp_path / "tags.dat").write_text("graph\n")
    with pytest.raises(DataError, match=r"item-tag\.dat: line 1: tag 1 is beyond the 1 rows of .*tags\.dat"):
        load(tmp_path, "citeulike")
    (tmp_path / "tags.dat").unlink()
    assert load(tmp_path, "citeulike").modalities["tags"].width == 2
    (tmp_path / "citations.dat").write_text("1 3\n0\n0\n")
    with pytest.raises(DataError, match=r"citations\.dat: line 1: item 3 is beyond"):
        load(tmp_path, "citeulike")
    (tmp_path / "citations.dat").unlink()
    (tmp_path / "item-tag.dat").unlink()
    assert not load(tmp_path, "citeulike").modalities


# atomic


def write_atomic(folder):
    (folder / "tiny.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nb\t10\t4\t7\na\t9\t3\t8\na\t10\t5\t9\n"
    )
    (folder / "tiny.user").write_text('user_id:token\tage:float\tjob:token\na\t30\tNA\nb\t\t"x\nc\t20\t\n')
    (folder / "tiny.item").write_text("item_id:token\tname:token_seq\n10\tred fox\n9\tred hen\n11\t\n")
    (folder / "tiny.link").write_text("item_id:token\tentity_id:token\n9\tm9\n10\tm10\n77\tm77\n")
    (folder / "tiny.kg").write_text(
        "head_id:token\trelation_id:token\ttail_id:token\n"
        "m10\tgenre\tg\nm9\tgenre\tg\nm9\tactor\tx\nm9\tactor\tx\nm77\tactor\ty\nzz\tgenre\tg\n"
    )


def test_atomic_numbers_thresholds_and_attributes(tmp_path):
    write_atomic(tmp_path)
    dataset = load(tmp_path, "atomic", positive_from=4, rename={"name": "title"})
    assert dataset.item_ids.tolist() == ["9", "10", "11"] and dataset.user_ids.tolist() == ["a", "b", "c"]
    assert dataset.interactions.to_numpy().tolist() == [[0, 1, 5, 9], [1, 1, 4, 7]]
    assert dataset.item_attributes["title"].tolist() == ["red hen", "red fox", ""]
    assert dataset.user_attributes["job"].tolist() == ["NA", '"x', ""]
    np.testing.assert_array_equal(dataset.user_attributes["age"], [30, np.nan, 20])


def test_atomic_knowledge_is_the_binary_facts_matrix(tmp_path):
    write_atomic(tmp_path)
    knowledge = load(tmp_path, "atomic", knowledge=True).modalities["knowledge"]
    # Facts in order: (actor, x), (genre, g). Items 9, 10, 11.
    assert knowledge.features.tolist() == [[1, 1], [0, 1], [0, 0]] and knowledge.mask.tolist() == [1, 1, 0]


def test_a_reduction_keeps_what_two_components_can(tmp_path):
    write_atomic(tmp_path)
    one = load(tmp_path, "atomic", knowledge=True, width=1).modalities["knowledge"].features
    # The Gram matrix [[2, 1], [1, 1]] has the largest eigenvalue (3 + sqrt 5) / 2.
    assert one.shape == (3, 1) and (one**2).sum() == pytest.approx((3 + sqrt(5)) / 2, rel=1e-5)


def test_an_item_that_no_kept_component_sees_is_masked():
    # One component: items 0 and 1 share two facts; item 2's only fact is its own.
    items, facts = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2])
    modality = facts_modality(items, facts, n_items=3, width=1, seed=0)
    assert modality.mask.tolist() == [True, True, False] and modality.features[2].tolist() == [0]
    np.testing.assert_allclose(np.abs(modality.features[:2]), sqrt(2), rtol=1e-6)


def test_atomic_text_masks_items_without_words(tmp_path):
    write_atomic(tmp_path)
    text = load(tmp_path, "atomic", text=["name"]).modalities["text"]
    assert text.mask.tolist() == [True, True, False] and text.width == 3
    np.testing.assert_allclose(np.linalg.norm(text.features, axis=1), [1, 1, 0], rtol=1e-6)


def test_features_do_not_depend_on_the_interactions(tmp_path):
    write_atomic(tmp_path)
    options = {"text": ["name"], "knowledge": True, "width": 2}
    one = load(tmp_path, "atomic", **options)
    (tmp_path / "tiny.inter").write_text("user_id:token\titem_id:token\nc\t11\n")
    other = load(tmp_path, "atomic", **options)
    for name in ("text", "knowledge"):
        assert np.array_equal(one.modalities[name].features, other.modalities[name].features)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("tiny.inter", "user_id\titem_id:token\n", "column 'user_id': expected name:type"),
        ("tiny.inter", "user_id:token\titem_id:token\n\tx\n", "line 2: user_id is empty"),
        (
            "tiny.inter",
            "user_id:token\titem_id:token\trating:float\na\tx\tgood\n",
            "line 2: rating is 'good'",
        ),
        ("tiny.inter", "user_id:token\titem_id:token\n a\tx\n", "no column rating"),
        ("tiny.item", "item_id:token\tname:token_seq\nx\ta\nx\tb\n", "line 3: item_id 'x' occurs twice"),
        ("tiny.item", "item_id:token\tname:token_seq\n9\t\n", "hold no words"),
        ("tiny.item", "item_id:token\tv:float_seq\n9\t1 a\n", "could not convert"),
        ("tiny.link", "item_id:token\tentity_id:token\n9\tq\n", "no head is an entity"),
    ],
)
def test_atomic_names_the_file(tmp_path, file, text, message):
    write_atomic(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=rf"tiny\.\w+.*{message}"):
        load(tmp_path, "atomic", positive_from=4, text=["name"], knowledge=True)


def test_a_threshold_that_leaves_nothing(tmp_path):
    write_atomic(tmp_path)
    with pytest.raises(DataError, match="holds no interactions"):
        load(tmp_path, "atomic", positive_from=6)


# assembly


def test_assembly_refuses_numbers_and_features_that_do_not_fit():
    frame = pd.DataFrame({"user": [0, 1], "item": [0, 2]}).rename_axis("line")
    ids = (np.array(["a", "b"]), np.array(["x", "y"]))
    with pytest.raises(DataError, match=r"log: line 1: item 2 is beyond the 2 known"):
        assemble("d", frame, source="log", ids=ids)
    ids = (ids[0], np.array(["x", "y", "z"]))
    image = Modality(np.ones((2, 1), np.float32), np.ones(2, bool))
    with pytest.raises(DataError, match="modality image has 2 rows for 3 items"):
        assemble("d", frame, source="log", ids=ids, modalities={"image": image})


def test_features_outside_the_mask_are_zero_dense_or_sparse():
    mask = np.array([True, False, True])
    for values in (np.eye(3), sp.csr_array(np.eye(3))):
        modality, notes = make_modality(values, "f.npy", mask)
        assert not notes and modality.mask.tolist() == mask.tolist()
        assert np.diag(sp.csr_array(modality.features).toarray()).tolist() == [1, 0, 1]
    assert modality.features.nnz == 2


def test_two_parts_are_named_whatever_the_order():
    frame = pd.DataFrame({"user": [0, 0], "item": [0, 0], "label": [2, 1]})
    with pytest.raises(DataError, match="user a and item x are in both valid and test"):
        assemble("d", frame, source="log", ids=(np.array(["a"]), np.array(["x"])))


# movielens


def test_movielens_own_format(tmp_path):
    (tmp_path / "ratings.dat").write_text("10::2::5::978300760\n9::1::3::978302109\n9::2::4::978301968\n")
    (tmp_path / "users.dat").write_text("9::F::1::10::48067\n10::M::56::16::70072\n")
    movies = "1::Toy Story (1995)::Animation|Comedy\n2::Misérables, Les (1995)::Drama\n3::Untitled::Drama\n"
    (tmp_path / "movies.dat").write_text(movies, encoding="latin-1")
    dataset = load(tmp_path, "movielens")
    assert dataset.user_ids.tolist() == ["9", "10"] and dataset.item_ids.tolist() == ["1", "2", "3"]
    assert dataset.interactions.to_numpy().tolist() == [[0, 1, 4, 978301968], [1, 1, 5, 978300760]]
    assert dataset.item_attributes["title"].tolist() == ["Toy Story", "Misérables, Les", "Untitled"]
    assert dataset.item_attributes["year"].tolist() == ["1995", "1995", ""]
    assert dataset.item_attributes["genres"].tolist() == ["Animation Comedy", "Drama", "Drama"]
    assert dataset.user_attributes["gender"].tolist() == ["F", "M"]
    assert dataset.modalities["text"].mask.all()


# table


def test_table_reads_parquet_dates_thresholds_and_features_by_id(tmp_path):
    when = pd.Timestamp(0) + pd.to_timedelta([5, 86_400, 0], unit="s")
    log = {"u": ["NA", "b", "b"], "i": [7, 10, 7], "r": [5, 4, 1], "t": when}
    pd.DataFrame(log).to_parquet(tmp_path / "log.parquet")
    (tmp_path / "image.csv").write_text("item,x,y\n10,1,2\n7,3,4\n")
    (tmp_path / "users.tsv").write_text("user\tage\nNA\t3\nb\t4\n")
    dataset = load(
        tmp_path,
        "table",
        interactions="log.parquet",
        columns={"user": "u", "item": "i", "rating": "r", "timestamp": "t"},
        positive_from=4,
        users={"file": "users.tsv", "id": "user"},
        features={"image": {"file": "image.csv", "id": "item"}},
    )
    assert dataset.user_ids.tolist() == ["NA", "b"] and dataset.item_ids.tolist() == ["7", "10"]
    assert dataset.interactions.to_numpy().tolist() == [[0, 0, 5, 5], [1, 1, 4, 86400]]
    assert dataset.modalities["image"].features.tolist() == [[3, 4], [1, 2]]
    assert dataset.user_attributes["age"].tolist() == [3, 4]


def test_table_items_without_a_feature_row_are_masked(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\na,x\na,y\na,z\n")
    (tmp_path / "f.csv").write_text("item,v\nz,1\nx,2\n")
    options = {"interactions": "log.csv", "features": {"f": {"file": "f.csv", "id": "item"}}}
    dataset = load(tmp_path, "table", **options)
    assert dataset.modalities["f"].features.tolist() == [[2], [0], [1]] and not dataset.notes
    assert dataset.modalities["f"].mask.tolist() == [True, False, True]


def test_features_of_items_that_nobody_took_are_noted(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\na,x\na,y\na,z\n")
    (tmp_path / "f.csv").write_text("item,v\nz,1\nq,2\n")
    dataset = load(tmp_path, "table", interactions="log.csv", features={"f": {"file": "f.csv", "id": "item"}})
    assert dataset.item_ids.tolist() == ["x", "y", "z"]
    assert dataset.modalities["f"].mask.tolist() == [False, False, True]
    assert any("1 of 2 rows are of items that no interaction has" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interactions": "log.xls"}, r"log\.xls: expected a \.csv"),
        ({"interactions": "gone.csv"}, r"gone\.csv: no such file"),
        ({"interactions": "broken.parquet"}, "cannot be read as Parquet"),
        ({"numbering": "file"}, "numbering 'file' needs"),
        ({"numbering": "random"}, "options of card tiny: numbering"),
        ({"columns": {"usr": "user"}}, r"unknown key 'columns\.usr'"),
        ({"positive_from": 3}, "no column rating"),
        ({"features": {"f": {"file": "f.npy"}}}, "need an items file"),
        ({"features": {"f": {"file": "f.csv"}}}, "must name its id column"),
        (
            {"features": {"f": {"file": "f.csv", "id": "item"}}, "items": {"file": "all.csv", "id": "item"}},
            "row 1: item 'q' is not in the items file",
        ),
        ({"features": {"f": {"file": "other.csv", "id": "item"}}}, "'x' is 'X' there: write both alike"),
        ({"features": {"f": {"file": "twice.csv", "id": "item"}}}, "two rows of features"),
        (
            {"features": {"f": {"file": "f.npz"}}, "items": {"file": "items.csv", "id": "item"}},
            "not a whole sparse",
        ),
        (
            {
                "features": {"f": {"file": "ok.npy", "mask": "ok.npy"}},
                "items": {"file": "items.csv", "id": "item"},
            },
            "expected 2 values of type bool",
        ),
        (
            {"numbering": "file"} | {k: {"file": f"{k}.csv", "id": k[:-1]} for k in ("users", "items")},
            "item 'z' is not in items.csv",
        ),
    ],
)
def test_table_says_what_is_wrong(tmp_path, options, message):
    (tmp_path / "log.csv").write_text("user,item\na,x\na,y\na,z\n")
    (tmp_path / "users.csv").write_text("user\na\n")
    (tmp_path / "items.csv").write_text("item\nx\ny\n")
    (tmp_path / "one.csv").write_text("item\nx\n")
    (tmp_path / "f.csv").write_text("item,v\nz,1\nq,2\n")
    (tmp_path / "twice.csv").write_text("item,v\nz,1\nz,2\n")
    (tmp_path / "all.csv").write_text("item\nx\ny\nz\n")
    (tmp_path / "other.csv").write_text("item,v\nX,1\nY,2\n")
    (tmp_path / "f.npz").write_bytes(b"PK")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    np.save(tmp_path / "ok.npy", np.ones((2, 1)))
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, "table", **{"interactions": "log.csv"} | options)
    assert "\n" not in str(caught.value)
