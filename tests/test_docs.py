"""The pages in docs/ are run as they are printed, and the README's promises are held to the code."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import yaml

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```(\w+)(?: file=(\S+))?\n(.*?)```", re.DOTALL)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A shop's files in a folder, the current folder, for the pages to work on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop").mkdir()
    rng = np.random.default_rng(0)
    rows = [(f"c{u}", f"p{i}", t) for u in range(12) for t, i in enumerate(rng.permutation(9)[:6])]
    pd.DataFrame(rows, columns=["customer", "product", "at"]).to_csv("shop/clicks.csv", index=False)
    products = pd.DataFrame({"sku": [f"p{i}" for i in range(9)], "name": [f"Product {i}" for i in range(9)]})
    products.to_csv("shop/products.csv", index=False)
    np.save("shop/photos.npy", rng.normal(size=(9, 4)).astype(np.float32))
    return tmp_path


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def write_files(folder, page):
    for _, name, text in blocks(page):
        if name:
            (folder / name).write_text(text, encoding="utf-8")


def run_python(page, **names):
    for language, name, text in blocks(page):
        if language == "python" and not name:
            exec(compile(text, page, "exec"), names)


def test_add_a_data_set(shop):
    write_files(shop, "docs/add-a-data-set.md")
    run_python("docs/add-a-data-set.md", data_root=shop)


def test_the_page_on_raw_content_says_what_the_code_takes():
    from recsys.datasets.content import CONTENT
    from recsys.datasets.content.spec import ContentSpec

    shown = [
        yaml.safe_load(text)["content"] for kind, _, text in blocks("docs/raw-content.md") if kind == "yaml"
    ]
    specs = {name: ContentSpec.of(value) for content in shown for name, value in content.items()}
    assert len(specs) == 10 and specs["tags"].options == {"separator": ";"}
    page = (ROOT / "docs/raw-content.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([\w-]+)`", " ".join(row.split("|")[1] for row in rows))) == set(
        CONTENT.builtin
    ) - {"tfidf"}


def test_the_page_on_models_shows_what_the_repository_holds():
    """The whole file of the model, and its line in the registry."""
    shown = {name: text for _, name, text in blocks("docs/add-a-model.md") if name}
    model, registry = "recsys/models/collaborative/simgcl.py", "recsys/models/__init__.py"
    assert shown[model] == (ROOT / model).read_text(encoding="utf-8")
    assert shown[registry] in (ROOT / registry).read_text(encoding="utf-8")
    assert shown.keys() == {model, registry}


def test_commands_of_the_page_on_models_work(recsys):
    """On the toy data set in place of ml-100k."""
    lines = [
        a for kind, _, text in blocks("docs/add-a-model.md") if kind == "sh" for a in command_lines(text)
    ]
    assert [arguments[0] for arguments in lines] == ["show", "train"]
    for arguments in lines:
        status, _, err = recsys(*("toy" if word == "ml-100k" else word for word in arguments))
        assert status == 0, err


def test_commands_of_the_page_on_objectives_work(recsys):
    """On the toy data set in place of ml-100k, whose modalities have other names."""
    text = "".join(t for kind, _, t in blocks("docs/objectives.md") if kind == "sh")
    names = {"ml-100k": "toy", "text, knowledge": "image, tags"}
    for name, ours in names.items():
        assert name in text
        text = text.replace(name, ours)
    lines = list(command_lines(text))
    assert [arguments[0] for arguments in lines] == ["list", "show", "show"] + 10 * ["train"]
    for number, arguments in enumerate(lines):
        out = ["--out", f"run-{number}"] if arguments[0] == "train" else []
        status, _, err = recsys(*arguments, *out)
        assert status == 0, err


def test_the_page_on_objectives_tells_how_each_is_called():
    from recsys.objectives import OBJECTIVES
    from recsys.objectives.calling import FORMS, leading

    page = (ROOT / "docs/objectives.md").read_text(encoding="utf-8")
    told = {}
    for line in re.findall(r"^\| (`.*) \|.*\| (`.*) \|$", page, re.MULTILINE):
        for parameters in re.findall(r"`([^`]+)`", line[0]):
            told[tuple(parameters.split(", "))] = set(re.findall(r"`([^`]+)`", line[1]))
    assert set(FORMS) <= set(told)
    for name in OBJECTIVES.builtin:
        form = leading(OBJECTIVES.get(name))
        assert form not in FORMS or name in told[form], name


def test_the_page_on_models_names_all_that_the_contract_demands(toy):
    from recsys.models.base import Model

    page = (ROOT / "docs/add-a-model.md").read_text(encoding="utf-8")
    contract = (ROOT / "tests/recsys/models/test_contract.py").read_text(encoding="utf-8")
    tests = re.findall(r"^def test_(\w+)\((?=name\b)", contract, re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert len(tests) > 15 and set(tests) <= set(rows), set(tests) - set(rows)
    capabilities = {name for name in vars(Model) if isinstance(vars(Model)[name], bool)}
    assert set(rows) == set(tests) | capabilities
    for fact in (f"{toy.n_users}\nusers and {toy.n_items} items", "max_epochs=40, batch_size=64", "width 8"):
        assert fact in page
    for name, shown, code in (
        ("finds_the_users_own_community", "0.95", 'recall@10"] > 0.95'),
        ("new_users_are_ranked_by_their_support", "1.5 times chance", "> 1.5 * metrics"),
        ("cold_items_are_ranked_from_content_or_lowest_and_alike", "1.3 times chance", "> 1.3 * metrics"),
    ):
        assert shown in next(line for line in page.splitlines() if name in line) and code in contract


def test_new_items_and_users(shop, capsys):
    from recsys.cli.app import main
    from recsys.datasets.cards import load_dataset
    from recsys.runs.config import RunConfig
    from recsys.runs.run import execute, prepare

    write_files(shop, "docs/add-a-data-set.md")
    write_files(shop, page := "docs/new-items-and-users.md")
    config = RunConfig(model="vbpr", dataset="shop", settings={"max_epochs": 1})
    run = prepare(config, load_dataset("shop", shop))
    execute(run, shop / "DIR")
    run_python(page, run=run)
    lines = [a for language, _, text in blocks(page) if language == "sh" for a in command_lines(text)]
    assert len(lines) == 6
    for arguments in lines:
        here = ["c3" if word == "42" else word for word in arguments]
        with pytest.raises(SystemExit) as end:
            main([*here, "--data-root", str(shop)])
        assert not end.value.code, capsys.readouterr().err
    assert pd.read_csv(shop / "new.csv")["user"].nunique() == 12
    assert (shop / "vectors" / "item_vectors.npy").exists()


def test_commands_of_the_page_on_metrics_work(recsys):
    pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
    lines = [a for kind, _, text in blocks("docs/metrics.md") if kind == "sh" for a in command_lines(text)]
    assert [arguments[0] for arguments in lines] == ["train", "show"]
    for arguments in lines:
        status, out, err = recsys(*arguments)
        assert status == 0, err
        assert "ild" in out


def test_commands_of_the_page_on_evaluate_work(recsys, toy, tmp_path):
    """On the toy data set in place of ml-100k."""
    frame = pd.DataFrame({"user": toy.user_ids, "item": toy.item_ids[0], "score": 1.0})
    frame.to_csv(tmp_path / "theirs.csv", index=False)
    page = "docs/how-to/evaluate.md"
    lines = [a for kind, _, text in blocks(page) if kind == "sh" for a in command_lines(text)]
    assert [arguments[0] for arguments in lines] == ["evaluate", "train", "report"]
    for arguments in lines:
        words = {"ml-100k": "toy", "ild.text@10": "ild.image@10"}
        status, _, err = recsys(*(words.get(word, word) for word in arguments))
        assert status == 0, err
    assert "the shop today" in (tmp_path / "runs/compared/report/tables.md").read_text()


def test_the_page_on_update_works(recsys, tmp_path, capsys):
    import recsys as package
    from recsys.runs.package import keep_bundle

    run = package.train("ease", package.toy_data(), split="none", content=1.0, folder=tmp_path / "runs/shop")
    keep_bundle(run._run, tmp_path / "runs/shop")
    run.package("shop-bundle")
    (tmp_path / "tomorrow.csv").write_text("user,sku,day\nu3,p01,9\nnewcomer,p99,9\n")
    (tmp_path / "arrived.csv").write_text("sku,title,department\np99,green bowl,kitchen\n")
    page = "docs/how-to/update.md"
    lines = [a for kind, _, text in blocks(page) if kind == "sh" for a in command_lines(text)]
    assert [arguments[0] for arguments in lines] == ["update", "recommend", "update"]
    for arguments in lines:
        status, _, err = recsys(*arguments)
        assert status == 0, err
    run_python(page)
    assert capsys.readouterr().out == next(text for kind, _, text in blocks(page) if kind == "text")


def test_the_page_on_reranking_works(recsys, tmp_path, capsys):
    pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
    page = "docs/reranking.md"
    write_files(tmp_path, page)
    run_python(page)
    assert capsys.readouterr().out == "True\n"
    lines = [a for kind, _, text in blocks(page) if kind == "sh" for a in command_lines(text)]
    assert [arguments[0] for arguments in lines] == ["train", "recommend", "recommend", "show", "bench"]
    for arguments in lines:
        status, _, err = recsys(*arguments)
        assert status == 0, err


def test_the_page_on_metrics_names_all_that_is_listed():
    from recsys.evaluation import OF_ALL_LISTS, OF_EACH_LIST

    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)[.@]", page, re.MULTILINE)) == {*OF_ALL_LISTS, *OF_EACH_LIST}


def test_the_readme_example_prints_what_it_shows(capsys):
    pytest.importorskip("recbole", reason="the embedded data set comes inside the recbole wheel")
    run_python("README.md")
    printed = capsys.readouterr().out.split()
    (shown,) = (text.split() for language, _, text in blocks("README.md") if language == "text")
    assert len(printed) == len(shown)
    for word, other in zip(printed, shown, strict=True):
        if "." in other and other.replace(".", "").isdigit():
            assert float(word) == pytest.approx(float(other), rel=0.02)
        else:
            assert word == other


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert len(targets) > 10 and all((ROOT / target).exists() for target in targets)
    assert len(re.findall(r"^pip install .* && pytest$", text, re.MULTILINE)) == 1  # .ci/run runs it
    assert len(re.findall(r"^pip install .* && python run\.py$", text, re.MULTILINE)) == 1


def model_rows(page):
    """Model -> its cells in the columns content, cold items, bundles, vectors of the page's table of models."""
    rows = {}
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) >= 5:
            names = re.findall(r"`([^`]+)`", cells[0])
            assert not rows.keys() & set(names)
            rows |= {name: cells[-4:] for name in names}
    return rows


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_the_tables_of_models_say_what_the_models_declare(page):
    from recsys.models import MODELS

    rows = model_rows(page)
    assert set(rows) == set(MODELS.builtin)
    for name, (content, cold, bundles, vectors) in rows.items():
        model = MODELS.get(name)
        declared = [model.reads_content, model.ranks_cold_items, model.exports_vectors]
        assert [content == "yes", cold == "yes", vectors == "yes"] == declared, name
        assert (bundles == "yes") == model.__module__.startswith("recsys.models.bundle."), name
        for cell in {content, cold} - {"yes", ""}:
            assert cell == "setting" or cell.removeprefix("by ").strip("`") in model.Settings.model_fields, (
                name
            )


def test_settings_that_turn_content_on_turn_it_on(toy):
    from recsys.datasets.splits import make_split
    from recsys.inputs.training_data import TrainingData
    from recsys.models import MODELS

    data = TrainingData.of(toy, make_split(toy, "cold-item", seed=0))
    named = {
        name: cells[0] for name, cells in model_rows("docs/models.md").items() if cells[0].startswith("by ")
    }
    assert named
    for name, cell in named.items():
        model = MODELS.get(name)
        made = model(model.Settings(**{cell.removeprefix("by ").strip("`"): 1.0}), data, seed=0)
        assert made.reads_content and made.ranks_cold_items


def test_the_readme_names_commands_that_exist():
    from recsys.cli.app import COMMANDS

    known = set(COMMANDS)
    named = set(re.findall(r"`recsys (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named <= known | {"COMMAND"}, named - known


def command_lines(text):
    """The arguments of every `recsys …` in a shell script, whoever starts it."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if "recsys" in words:
            yield words[words.index("recsys") + 1 :]


def manifests(page):
    for language, _, text in blocks(page):
        if language == "yaml":
            yield from yaml.safe_load_all(text)


def containers(manifest):
    return manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])


def parse(arguments):
    """UsageError or Exit where the command line does not take them."""
    from recsys.cli.app import make_app

    group = typer.main.get_command(make_app())
    name, *rest = arguments
    return group.commands[name].make_context(name, list(rest))


def test_commands_of_the_clusters_page_are_taken():
    from recsys.experiments.bench.config import find_file

    page = "docs/clusters.md"
    lines = [a for language, _, text in blocks(page) if language == "sh" for a in command_lines(text)]
    for manifest in manifests(page):
        lines += [c["command"][1:] for c in containers(manifest) if c["command"][0] == "recsys"]
    assert len(lines) >= 10
    for arguments in lines:
        context = parse(arguments)
        if arguments[0] in ("bench", "scan"):
            find_file(arguments[1])
        else:
            from recsys.training.distributed import Distributed

            assert context.params["devices"] > 1
            asked = {name: context.params[name] for name in ("devices", "num_nodes", "strategy")}
            Distributed(**asked).check(context.params["model"])
    with pytest.raises(Exception, match="No such option"):
        parse(["scan", "lightgcn-scan", "--wrokers", "2"])


def test_manifests_of_the_clusters_page_hold_together():
    found = list(manifests("docs/clusters.md"))
    assert sorted(m["kind"] for m in found) == ["Deployment"] * 2 + ["Job"] * 3 + ["Secret"] + ["Service"] * 2
    services = {m["metadata"]["name"] for m in found if m["kind"] == "Service"}
    secrets = {m["metadata"]["name"]: m["stringData"] for m in found if m["kind"] == "Secret"}
    for manifest in found:
        labels = manifest.get("spec", {}).get("template", {}).get("metadata", {}).get("labels")
        if "subdomain" in manifest.get("spec", {}).get("template", {}).get("spec", {}):
            check_nodes(manifest, services)
        if manifest["kind"] == "Deployment":
            assert manifest["spec"]["selector"]["matchLabels"] == labels
        for container in containers(manifest):
            addresses = [a for a in container["command"] if a.startswith("tcp://")]
            assert all(a.removeprefix("tcp://").partition(":")[0] in services for a in addresses)
            for variable in container.get("env", []):
                if "secretKeyRef" in variable.get("valueFrom", {}):
                    key = variable["valueFrom"]["secretKeyRef"]
                    assert key["key"] in secrets[key["name"]]


def check_nodes(job, services):
    """A Job whose pods train together: as many as the command says, and the first one is where they look for it."""
    name, spec = job["metadata"]["name"], job["spec"]
    (container,) = containers(job)
    nodes = container["command"][container["command"].index("--num-nodes") + 1]
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] == spec["completions"] == int(nodes)
    assert spec["template"]["spec"]["subdomain"] in services
    env = {v["name"]: v.get("value") or v["valueFrom"]["fieldRef"]["fieldPath"] for v in container["env"]}
    assert env["MASTER_ADDR"] == f"{name}-0.{spec['template']['spec']['subdomain']}"
    assert env["NODE_RANK"] == "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def test_the_clusters_page_names_the_models_that_several_processes_train():
    from recsys.models import MODELS
    from recsys.training.distributed import able

    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    named = re.search(r"a mean over the batch's rows: (.*?)\.", text, re.DOTALL).group(1)
    assert [n.strip() for n in named.split(",")] == [
        n for n in sorted(MODELS.builtin) if MODELS.get(n).trains_in_shares
    ]
    named = re.search(r"\| models \| (.*?) \|", text).group(1)
    assert named == able("trains_by_columns")


def test_the_page_on_sweeps_shows_files_that_are_read(tmp_path):
    from recsys.experiments.bench.config import read_experiment

    files = [text for language, _, text in blocks("docs/sweeps-and-controls.md") if language == "yaml"]
    for number, (text, tables) in enumerate(zip(files, (10, 1), strict=True)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        assert len(read_experiment(path, controls=True).splits) == tables
