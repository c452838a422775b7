"""The service, in this process: what it answers, and what it refuses in one line."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

import recsys
from recsys.serving.service import Limits, make_service
from recsys.serving.state import State


class Service:
    """A state and clients of services over it."""

    def __init__(self, bundle, folder, limits=None):
        self.limits, self.lines = limits or Limits(), []
        self.state = State(bundle, folder)
        self.state.open()
        self.client = self.another(self.state)

    def another(self, state):
        app = make_service(state, self.limits, lambda **line: self.lines.append(line))
        return TestClient(app, raise_server_exceptions=False)

    def ids(self, path="/recommend", **body):
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return [item["item"] for item in answer.json()["items"]]


@pytest.fixture
def service(bundles, tmp_path):
    shutil.copytree(bundles["ease"][1], tmp_path / "bundle")
    return Service(tmp_path / "bundle", tmp_path / "state")


def test_known_users_get_the_lists_of_the_bundle(service, bundles):
    expected = recsys.load_bundle(bundles["ease"][1]).recommend(["u3"], k=5)
    answer = service.client.post("/recommend", json={"user": "u3", "k": 5}).json()
    assert [item["item"] for item in answer["items"]] == expected["item"].tolist()
    scores = [item["score"] for item in answer["items"]]
    np.testing.assert_allclose(scores, expected["score"], rtol=1e-6)
    assert answer["items"][0]["attributes"]["title"]


def test_histories_get_the_lists_of_new_users(service, bundles):
    run = bundles["ease"][0]
    frame = recsys.load_bundle(bundles["ease"][1]).recommend(k=4, new_users={"x": ["i1", "i2"]})
    assert service.ids(history=["i1", "i2"], k=4) == frame["item"].tolist()
    assert run.config.model == "ease"


def test_filters(service):
    everything = service.ids(user="u3", k=30)
    best = everything[0]
    assert best not in service.ids(user="u3", k=30, exclude=[best])
    assert service.ids(user="u3", k=30, include=everything[3:5]) == everything[3:5]
    years = service.ids(user="u3", k=30, where={"year": {"min": 2000, "max": 2005}})
    assert years == [i for i in everything if 2000 <= 1990 + int(i[1:]) <= 2005]
    assert service.ids(user="u3", k=30, where={"genres": "green"}) == [
        i for i in everything if int(i[1:]) % 2
    ]


def test_interactions_count_at_the_next_request_and_outlive_the_service(service, tmp_path):
    before = service.ids(user="u0", k=30)
    took = before[:2]
    kept = service.client.post(
        "/interactions", json={"interactions": [{"user": "u0", "item": item} for item in took]}
    )
    assert kept.json() == {"kept": 2}
    after = service.ids(user="u0", k=30)
    assert not set(took) & set(after) and after != [i for i in before if i not in took]
    service.client.post("/interactions", json={"interactions": [{"user": "stranger", "item": "i20"}]})
    assert service.ids(user="stranger", k=5) == service.ids(history=["i20"], k=5)
    restarted = Service(tmp_path / "bundle", tmp_path / "state")
    assert restarted.ids(user="u0", k=30) == after
    assert restarted.ids(user="stranger", k=5) == service.ids(user="stranger", k=5)


def test_what_one_process_acknowledges_counts_in_the_others(service, tmp_path):
    other = service.another(State(tmp_path / "bundle", tmp_path / "state"))
    best = service.ids(user="u0", k=1)
    assert other.post("/interactions", json={"interactions": [{"user": "u0", "item": best[0]}]}).is_success
    assert best[0] not in service.ids(user="u0", k=30)


def test_new_items_are_ranked_from_then_on(service, tmp_path):
    items = [{"item": "new-tea", "title": "new tea", "about": "a tea of kind 1", "year": 2024}]
    assert service.client.post("/new-items", json={"items": items}).json() == {"items": ["new-tea"]}
    assert "new-tea" in service.ids(user="u0", k=30)
    assert service.ids(user="u0", k=5, pool="new") == ["new-tea"]
    liked = service.client.post("/recommend", json={"user": "u0", "k": 30}).json()["items"]
    score = {item["item"]: item["score"] for item in liked}
    disliked = [score[i] for i in score if i.startswith("i") and int(i[1:]) >= 15]
    assert score["new-tea"] > max(disliked)  # u0 takes tea
    assert Service(tmp_path / "bundle", tmp_path / "state").ids(user="u0", k=5, pool="new") == ["new-tea"]
    again = service.client.post("/new-items", json={"items": items})
    assert again.status_code == 400 and "known already" in again.json()["error"]
    took = {"interactions": [{"user": "u0", "item": "new-tea"}]}
    assert service.client.post("/interactions", json=took).is_success
    assert service.ids(user="u0", k=5, pool="new") == []


def test_new_items_are_ranked_as_the_run_ranks_them(bundles, tmp_path):
    run, folder = bundles["ease"]
    from recsys.inputs.new_data import new_items_of_frame
    from recsys.runs.recommend import catalogue_users, recommend_to

    frame = pd.DataFrame({"item": ["n1", "n2", "n3"], "about": ["a tea of kind 1", "a pan", ""]})
    items, _ = new_items_of_frame(frame, run.dataset)
    expected = recommend_to(run, catalogue_users(run), items, new_only=False, k=40).frame
    found = recsys.load_bundle(folder).recommend(k=40, new_items=frame, pool="all")
    one, other = (table.set_index(["user", "item"])["score"].sort_index() for table in (found, expected))
    pd.testing.assert_series_equal(one, other, atol=1e-5, check_exact=False)


def test_similar_items_and_explanations(service):
    similar = service.client.post("/similar-items", json={"item": "i0", "k": 3}).json()
    assert len(similar["items"]) == 3 and similar["notes"]
    best = service.ids(user="u0", k=1)[0]
    why = service.client.post("/explain", json={"user": "u0", "item": best, "k": 30}).json()
    score = service.client.post("/recommend", json={"user": "u0", "k": 1}).json()["items"][0]["score"]
    # EASE's score is the sum of what each item of the history adds.
    assert why["by"] == "its share of the score"
    assert sum(reason["weight"] for reason in why["because_of"]) == pytest.approx(score, abs=1e-4)


def test_vectors_explain_by_cosine(bundles, tmp_path):
    service = Service(bundles["lightgcn"][1], tmp_path / "state")
    best = service.ids(user="u0", k=1)[0]
    why = service.client.post("/explain", json={"user": "u0", "item": best}).json()
    assert why["by"] == "cosine of vectors" and all(-1.001 <= r["weight"] <= 1.001 for r in why["because_of"])
    assert len(service.ids("/similar-items", item="i3", k=4)) == 4


def test_health_metrics_schema_and_page(service):
    assert service.client.get("/health").json()["status"] == "ok"
    service.ids(user="u0")
    service.client.get("/nowhere-at-all")
    text = service.client.get("/metrics").text
    assert 'recsys_requests_total{path="/recommend",status="200"} 1.0' in text and "nowhere" not in text
    assert {"/recommend", "/new-items", "/explain"} <= service.client.get("/openapi.json").json()[
        "paths"
    ].keys()
    assert "<h1>recsys</h1>" in service.client.get("/").text


def test_a_token_is_asked_for(bundles, tmp_path):
    service = Service(bundles["ease"][1], tmp_path / "state", Limits(token="secret"))
    asked = {"json": {"user": "u0"}}
    assert service.client.post("/recommend", **asked).status_code == 401
    wrong = service.client.post("/recommend", **asked, headers={"Authorization": "Bearer no"})
    assert wrong.status_code == 401
    right = service.client.post("/recommend", **asked, headers={"Authorization": "Bearer secret"})
    assert right.status_code == 200
    assert (
        service.client.get("/health").status_code == 200 and service.client.get("/metrics").status_code == 401
    )


def test_limits(bundles, tmp_path):
    service = Service(bundles["ease"][1], tmp_path / "state", Limits(k=5, body=500))
    over = service.client.post("/recommend", json={"user": "u0", "k": 6})
    assert over.status_code == 400 and "at most 5" in over.json()["error"]
    large = service.client.post("/recommend", json={"history": ["i1"] * 200})
    assert large.status_code == 413
    assert service.client.post("/recommend", content=iter([b"x" * 400] * 4)).status_code == 413


VALUES = [
    None, True, -1, 0, 1.5, 1e400, "", "x" * 300, "no such", "\ud800", "\0", [], [[]], [1], ["no such"], {}, {"a": {}},
    {"year": {"min": "x"}}, {"nowhere": 1}, {"year": {"more": 1}}, "'; drop table", 10**30, [None], ["i1", 2],
]  # fmt: skip
GOOD = {
    "/recommend": {"user": "u0", "k": 3, "exclude": ["i1"], "include": ["i2", "i3"], "where": {"year": 1992}},
    "/similar-items": {"item": "i1", "k": 3},
    "/explain": {"user": "u0", "item": "i1", "k": 3},
    "/interactions": {"interactions": [{"user": "u0", "item": "i1"}]},
    "/new-items": {"items": [{"item": "x", "about": "tea"}]},
}


def malformed():
    """Path and body: each field with each wrong value, fields too many or missing, and what is no JSON at all."""
    for path, good in GOOD.items():
        for field in good:
            for value in VALUES:
                yield path, json.dumps(good | {field: value})
            yield path, json.dumps({k: v for k, v in good.items() if k != field} | {"unknown": 1})
        text = json.dumps(good)
        for broken in (
            text[:-1],
            text + "}",
            "",
            "null",
            "[]",
            '"',
            "[" * 100_000,
            "\x00",
            '{"k": NaN}',
            "{" * 9000,
        ):
            yield path, broken
        yield path, b"\xff\xfe" + text.encode()
    for row in (
        [1],
        {"item": ""},
        {"item": 3},
        {"item": "y", "nowhere": 1},
        {"item": "y", "about": [1e300, 1]},
    ):
        yield "/new-items", json.dumps({"items": [row]})


def test_malformed_bodies_get_one_line_and_change_nothing(service):
    before, bodies = service.ids(user="u7", k=30), list(malformed())
    assert len(bodies) >= 100
    answers = [service.client.post(path, content=body) for path, body in bodies]
    for (path, body), answer in zip(bodies, answers, strict=True):
        assert answer.status_code < 500, (path, body[:100], answer.text)
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert error and "\n" not in error and "Traceback" not in error and len(error) < 400, error
        else:
            assert not any(
                math.isnan(item["score"]) for item in answer.json().get("items", []) if item is dict
            )
    refused = sum(answer.status_code >= 400 for answer in answers)
    assert refused > 0.8 * len(bodies)
    assert not [line for line in service.lines if line["level"] == "error"]
    assert service.ids(user="u7", k=30) == before


def test_a_fault_of_the_service_shows_the_client_no_traceback(service, monkeypatch):
    monkeypatch.setattr(State, "snapshot", lambda self: 1 / 0)
    answer = service.client.post("/recommend", json={"user": "u0"})
    assert answer.status_code == 500 and "ZeroDivision" not in answer.text and "Traceback" not in answer.text
    (line,) = (line for line in service.lines if line["level"] == "error")
    assert "ZeroDivisionError" in line["traceback"] and line["id"] in answer.json()["error"]


def test_a_damaged_bundle_is_not_taken(service, tmp_path):
    before = service.ids(user="u0", k=30)
    for path in sorted((tmp_path / "bundle").iterdir()):
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2])
        refused = service.client.post("/reload")
        assert refused.status_code == 409 and "no whole bundle" in refused.json()["error"], path
        assert service.ids(user="u0", k=30) == before
        path.write_bytes(kept)
    assert service.client.post("/reload").status_code == 200


def test_a_service_starts_again_though_its_bundle_has_been_damaged(service, tmp_path):
    before = service.ids(user="u0", k=30)
    (tmp_path / "bundle" / "bundle.json").write_text("{")
    assert Service(tmp_path / "bundle", tmp_path / "state").ids(user="u0", k=30) == before


def test_a_torn_line_of_the_log_is_no_interaction(service, tmp_path):
    best = service.ids(user="u0", k=2)
    service.client.post("/interactions", json={"interactions": [{"user": "u0", "item": best[0]}]})
    after = service.ids(user="u0", k=30)
    log = tmp_path / "state" / "events.log"
    log.write_bytes(log.read_bytes() + log.read_bytes()[:30])
    restarted = Service(tmp_path / "bundle", tmp_path / "state")
    assert restarted.ids(user="u0", k=30) == after
    restarted.client.post("/interactions", json={"interactions": [{"user": "u0", "item": after[0]}]})
    assert after[0] not in Service(tmp_path / "bundle", tmp_path / "state").ids(user="u0", k=30)
