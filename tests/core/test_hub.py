"""Models on a hub: its endpoints, as huggingface_hub asks them, on a server of this machine."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.core.hub import is_address

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

BAGS = sm.datasets.planted_bags(30, bags_per_donor=2, seed=0)


class Handler(BaseHTTPRequestHandler):
    """Repositories in memory: name -> branch -> commit, and commit -> files."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body=b"", status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code, status=404):
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def route(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path).strip("/")
        state["asked"].append((self.command, path, self.headers.get("Authorization")))
        repos, parts = state["repos"], path.split("/")
        if self.command == "POST" and parts[:1] == ["api"] and not state["token_is"](self.headers):
            return self.refuse("Unauthorized", 401)
        if path == "api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path == "api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            there = name in repos
            # older ones say it otherwise
            private = asked.get("private", asked.get("visibility") == "private")
            repos.setdefault(name, {"private": private, "branches": {}})
            url = f"{state['endpoint']}/{name}"
            return self.answer({"url": url, "name": name, "id": name}, 409 if there else 200)
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in repos:
            return self.refuse("RepoNotFound", 404)
        if name in state["gated"]:
            return self.refuse("GatedRepo", 403)
        verb, revision = (parts[4], "/".join(parts[5:])) if parts[0] == "api" else (
            parts[2], parts[3])  # fmt: skip
        branches, commits = repos[name]["branches"], state["commits"]
        if verb == "branch":
            branches.setdefault(revision, branches.get("main", "0" * 40))
            return self.answer({})
        if verb == "preupload":
            files = json.loads(body)["files"]
            return self.answer({"files": [{"path": f["path"], "uploadMode": "regular",
                                           "shouldIgnore": False, "oid": None}
                                          for f in files]})  # fmt: skip
        if verb == "commit":
            lines = [json.loads(line) for line in body.splitlines() if line.strip()]
            files = dict(commits.get(branches.get(revision), {}))
            for line in lines:
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = hashlib.sha1(body).hexdigest()
            commits[oid], branches[revision] = files, oid
            return self.answer(
                {
                    "commitOid": oid,
                    "success": True,
                    "commitUrl": f"{state['endpoint']}/{name}/commit/{oid}",
                }
            )
        oid = branches.get(revision, revision)
        if oid not in commits:
            return self.refuse("RevisionNotFound")
        files = commits[oid]
        if verb == "revision":
            return self.answer({"_id": "1", "id": name, "modelId": name, "sha": oid,
                                "private": False, "tags": [], "downloads": 0, "likes": 0,
                                "siblings": [{"rfilename": f} for f in files]})  # fmt: skip
        if verb == "tree":
            return self.answer(
                [
                    {"type": "file", "path": f, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                    for f, b in files.items()
                ]
            )
        if verb == "resolve":
            file = "/".join(parts[4:])
            if file not in files:
                return self.refuse("EntryNotFound")
            state["sent"].append(file)
            return self.answer(files[file], ETag=f'"{hashlib.sha1(files[file]).hexdigest()}"',
                               X_Repo_Commit=oid, Accept_Ranges="none")  # fmt: skip
        return self.refuse("NotHere")

    do_GET = do_POST = do_HEAD = route


@pytest.fixture(scope="module")
def running():
    """One address for all tests: older ones of the library keep the first that they see."""
    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def server(running, tmp_path, monkeypatch):
    endpoint = f"http://127.0.0.1:{running.server_port}"
    running.state = {"repos": {}, "commits": {}, "asked": [], "sent": [], "gated": set(),
                     "endpoint": endpoint, "token_is": lambda headers: True}  # fmt: skip
    from huggingface_hub import constants, utils

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                        endpoint + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    getattr(utils, "reset_sessions", int)()  # older ones ask when they make a session
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return running


@pytest.fixture(scope="module")
def model():
    return sm.mil.BagMean(progress=False, seed=3).fit(BAGS)


def test_a_model_goes_there_and_comes_back(server, model):
    address = model.push_to_hub("lab/one")
    assert is_address(address)
    (files,) = server.state["commits"].values()
    assert sorted(files) == ["README.md", "model.json", "weights.safetensors"]
    for place in ("hf://lab/one", address, "hf://lab/one@main"):
        again = sm.load(place)
        assert np.array_equal(again.predict_proba(BAGS), model.predict_proba(BAGS))
    assert "README.md" not in server.state["sent"]  # nothing but the model is fetched


def test_an_annotator_goes_there_and_comes_back(server):
    cells = sm.datasets.planted_modalities(120, n_bags=6, effect=8.0, seed=0)
    method = sm.integrate.BlockPCA(width=4, progress=False)
    annotator = sm.Annotator(method, label="kind").fit(cells)
    new = sm.datasets.planted_modalities(30, effect=8.0, seed=1)
    again = sm.load(annotator.push_to_hub("lab/reference"))
    pd.testing.assert_frame_equal(again.annotate(new), annotator.annotate(new))


def test_it_is_private_unless_said_otherwise(server, model):
    model.push_to_hub("lab/one")
    model.push_to_hub("lab/two", private=False)
    assert [r["private"] for r in server.state["repos"].values()] == [True, False]


def test_a_later_model_takes_the_place_and_the_first_is_there_by_its_commit(server, model):
    first = model.push_to_hub("lab/one")
    other = sm.mil.BagMean(progress=False, seed=4).fit(BAGS)
    second = other.push_to_hub("lab/one")
    assert first != second
    assert sm.load(first).seed == 3
    assert sm.load("hf://lab/one").seed == 4


def test_a_branch_of_its_own(server, model):
    model.push_to_hub("lab/one")
    other = sm.mil.BagMean(progress=False, seed=5).fit(BAGS)
    other.push_to_hub("lab/one", revision="trial")
    assert sm.load("hf://lab/one").seed == 3
    assert sm.load("hf://lab/one@trial").seed == 5


def test_the_token_is_sent_and_a_wrong_one_is_one_error_without_it(server, model):
    server.state["token_is"] = lambda headers: headers.get("Authorization") == "Bearer right"
    model.push_to_hub("lab/one", token="right")
    assert ("POST", "api/repos/create", "Bearer right") in server.state["asked"]
    with pytest.raises(sm.InputError, match="refused 'lab/two'|no repository") as error:
        model.push_to_hub("lab/two", token="hf_wrong")
    assert "hf_wrong" not in str(error.value)
    assert "lab/two" not in server.state["repos"]


def test_what_could_not_be_loaded_leaves_nothing_there(server):
    class Unknown(sm.mil.BagMean):
        name = "unknown"

    fitted = Unknown(progress=False).fit(BAGS)
    with pytest.raises(sm.InputError, match="register it"):
        fitted.push_to_hub("lab/one")
    assert server.state["asked"] == []


@pytest.mark.parametrize("name", ["one", "a/b/c", "a b/c", ""])
def test_a_name_that_is_none_is_refused_here(server, model, name):
    with pytest.raises(sm.InputError, match="is no name of a repository: say USER/NAME"):
        model.push_to_hub(name)
    assert server.state["asked"] == []


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize(("address", "why"), [
    ("hf://lab/other", "no repository 'lab/other' on the hub, or it is private"),
    ("hf://lab/one@v9", "'lab/one' has no revision 'v9'"),
    ("hf://lab", "'hf://lab' is no address: hf://USER/NAME"),
    ("hf://lab/one/two", "is no address"),
    ("hf://lab/..", "refused 'lab/..'|no repository"),
    ("hf://lab/gated", "'lab/gated' asks who you are: accept its terms"),
])  # fmt: skip
def test_what_is_not_there_is_one_error(server, model, address, why):
    model.push_to_hub("lab/one")
    server.state["repos"]["lab/gated"] = {"branches": {}}
    server.state["gated"].add("lab/gated")
    with pytest.raises(sm.InputError, match=why):
        sm.load(address)


def put(server, name, files):
    oid = hashlib.sha1(repr(sorted(files)).encode()).hexdigest()
    server.state["commits"][oid] = files
    server.state["repos"][name] = {"branches": {"main": oid}}


def test_a_pickle_is_neither_fetched_nor_opened(server):
    put(server, "lab/pickled", {"pytorch_model.bin": b"\x80\x04N.", "config.json": b"{}"})
    with pytest.raises(sm.InputError, match="holds no smalti model.*Pickled models"):
        sm.load("hf://lab/pickled")
    assert server.state["sent"] == []


def test_half_a_model_is_none(server, model):
    model.push_to_hub("lab/one")
    (files,) = server.state["commits"].values()
    put(server, "lab/half", {"model.json": files["model.json"]})
    with pytest.raises(sm.InputError, match="weights.safetensors lacking"):
        sm.load("hf://lab/half")


def test_a_changed_file_is_seen(server, model):
    model.push_to_hub("lab/one")
    (files,) = server.state["commits"].values()
    put(server, "lab/changed", files | {"model.json": files["model.json"].replace(b"30", b"31")})
    with pytest.raises(sm.InputError, match="checksum differs"):
        sm.load("hf://lab/changed")


def test_code_beside_a_model_is_not_fetched_and_a_class_that_it_names_not_imported(server, model):
    model.push_to_hub("lab/one")
    (files,) = server.state["commits"].values()
    evil = b"raise SystemExit('ran')"
    put(server, "lab/evil", files | {"smalti.py": evil, "sub/model.json": b"{}"})
    assert sm.load("hf://lab/evil").seed == 3
    assert set(server.state["sent"]) <= {"model.json", "weights.safetensors"}
    note = json.loads(files["model.json"])
    note["needs"] = [{"method": "evil", "class": "evil:Evil", "package": "", "version": ""}]
    from smalti.core.save import digest_of

    del note["note_sha256"]
    note["note_sha256"] = digest_of(note)
    put(server, "lab/needs", files | {"model.json": json.dumps(note).encode()})
    with pytest.raises(sm.InputError, match="never imported"):
        sm.load("hf://lab/needs")


def test_without_a_connection_the_copy_in_the_cache_is_read(server, model, monkeypatch):
    address = model.push_to_hub("lab/one")
    sm.load("hf://lab/one")
    asked = len(server.state["asked"])
    from huggingface_hub import constants, utils

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    getattr(utils, "reset_sessions", int)()  # older ones ask when they make a session
    assert sm.load("hf://lab/one").seed == 3
    assert sm.load(address).seed == 3
    with pytest.raises(sm.InputError, match="cannot be reached, and no whole copy of 'lab/two'"):
        sm.load("hf://lab/two")
    assert len(server.state["asked"]) == asked


def test_a_hub_that_is_down_is_as_no_connection(server, model, monkeypatch):
    model.push_to_hub("lab/one")
    sm.load("hf://lab/one")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert sm.load("hf://lab/one").seed == 3
    with pytest.raises(sm.InputError, match="could not be reached"):
        model.push_to_hub("lab/one")


def test_without_the_library_the_extra_is_named(model, monkeypatch):
    from smalti.system import extras

    find = extras.importlib.util.find_spec
    monkeypatch.setattr(
        extras.importlib.util,
        "find_spec",
        lambda name, *of: None if name == "huggingface_hub" else find(name, *of),
    )
    for deed in (lambda: sm.load("hf://lab/one"), lambda: model.push_to_hub("lab/one")):
        with pytest.raises(sm.InputError, match=r'pip install "smalti\[hub\]"'):
            deed()


@pytest.mark.slow  # a process is started
def test_another_hub_by_its_variable_on_the_command_line(server, model, tmp_path):
    """Nothing is patched there: HF_ENDPOINT is what a user sets."""
    model.push_to_hub("lab/one")
    bags, names = BAGS, BAGS.bag.index.to_numpy().astype(str)
    np.savez(tmp_path / "bags.npz", x=bags.table(), bag=names[bags.index], label=bags.labels,
             donor=bags.bag["donor"].to_numpy().astype(str))  # fmt: skip
    env = os.environ | {"HF_ENDPOINT": server.state["endpoint"], "HF_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-m", "smalti.cli", "predict", "hf://lab/one", "bags.npz",
                    "--out", "out.csv"], cwd=tmp_path, env=env, check=True)  # fmt: skip
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 31
