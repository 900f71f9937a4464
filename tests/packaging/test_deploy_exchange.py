"""The hub's exchange: who has which extensions, who sees which folder, and what `gather.py` takes."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from attncourse.classroom.roster import ID
from tests.packaging.test_deploy import CLAIM, DEPLOY, DOCKERFILE, JOB, SITE, VALUES

pytestmark = pytest.mark.packaging


# --- who has which extensions ---------------------------------------------------------------------------

EVERYONE, INSTRUCTORS = DEPLOY / "jupyter" / "everyone", DEPLOY / "jupyter" / "instructors"
STATES = """
import json, os
from jupyter_core.paths import jupyter_config_path, jupyter_path
from jupyter_server.config_manager import BaseJSONConfigManager, recursive_update
from jupyterlab.commands import get_app_dir
from jupyterlab_server.config import get_page_config
server = {}
for folder in reversed(jupyter_config_path()):
    recursive_update(server, BaseJSONConfigManager(config_dir=folder).get("jupyter_server_config"))
page = get_page_config(jupyter_path("labextensions"), os.path.join(get_app_dir(), "settings"))
print(json.dumps([server["ServerApp"]["jpserver_extensions"], page["disabledExtensions"]]))
"""


def extensions(tmp_path, *folders):
    """Return nbgrader's server extensions that are on, and its parts of JupyterLab that are off."""
    path = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [sys.executable, "-c", STATES],
        env={**os.environ, "HOME": str(tmp_path), "JUPYTER_CONFIG_PATH": path, "JUPYTER_CONFIG_DIR": ""},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    server, disabled = json.loads(done.stdout)
    on = {name.rsplit(".", 1)[1] for name, state in server.items() if state and name.startswith("nbgrader.")}
    return on, {name.split(":")[1] for name in disabled if name.startswith("@jupyter/nbgrader:")}


def test_students_have_the_assignment_list_and_no_formgrader(tmp_path):
    assert extensions(tmp_path, EVERYONE) == (
        {"assignment_list", "validate_assignment"},
        {"course-list", "create-assignment", "formgrader"},
    )


def test_instructors_have_the_formgrader_besides(tmp_path):
    assert extensions(tmp_path, INSTRUCTORS, EVERYONE) == (
        {"assignment_list", "validate_assignment", "formgrader"},
        {"course-list", "create-assignment"},
    )


def test_every_extension_that_nbgrader_ships_is_decided():
    """An extension that a new nbgrader brings would be on for students."""
    shipped = Path(sys.prefix, "etc", "jupyter", "jupyter_server_config.d", "nbgrader.json")
    names = [
        json.loads(path.read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"].keys()
        for path in (shipped, EVERYONE / "jupyter_server_config.json")
    ]
    assert names[0] == names[1]
    static = Path(sys.prefix, "share", "jupyter", "labextensions", "@jupyter", "nbgrader", "static")
    code = "".join(path.read_text(encoding="utf-8") for path in static.glob("*.js"))
    page = json.loads((EVERYONE / "labconfig" / "page_config.json").read_text(encoding="utf-8"))
    undecided = set(re.findall(r"@jupyter/nbgrader:[a-z-]+", code)) - page["disabledExtensions"].keys()
    assert undecided == {"@jupyter/nbgrader:menu"}


def pod_of(*groups):
    """Return the server's container after the hub's hook has seen it."""
    hook = SimpleNamespace(KubeSpawner=SimpleNamespace())
    exec(VALUES["hub"]["extraConfig"]["10-instructors.py"], {"c": hook})
    notebook = SimpleNamespace(volume_mounts=[], env=[])
    pod = SimpleNamespace(spec=SimpleNamespace(containers=[notebook]))
    user = SimpleNamespace(groups=[SimpleNamespace(name=name) for name in groups])
    assert hook.KubeSpawner.modify_pod_hook(SimpleNamespace(user=user), pod) is pod
    return notebook


@pytest.mark.parametrize("groups", [(), ("students",), ("instructors-of-another-course",)])
def test_the_hook_leaves_students_alone(groups):
    notebook = pod_of(*groups)
    assert notebook.volume_mounts == notebook.env == []


def test_the_hook_gives_instructors_the_volume_and_their_settings():
    notebook = pod_of("students", "instructors")
    [mount], [variable] = notebook.volume_mounts, notebook.env
    assert mount["name"] in {volume["name"] for volume in VALUES["singleuser"]["storage"]["extraVolumes"]}
    assert variable == {"name": "JUPYTER_CONFIG_PATH", "value": "/opt/course/instructors"}
    assert f"COPY deploy/jupyter/instructors {variable['value']}\n" in DOCKERFILE
    assert list(SITE["hub"]["config"]["JupyterHub"]["load_groups"]) == ["instructors"]


# --- the exchange -----------------------------------------------------------------------------------------


def test_the_claim_is_the_one_that_pods_mount():
    [volume] = VALUES["singleuser"]["storage"]["extraVolumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    [mounted] = JOB["spec"]["template"]["spec"]["volumes"]
    assert mounted["persistentVolumeClaim"] == volume["persistentVolumeClaim"]


def test_a_student_s_pod_sees_nothing_of_others():
    mounts = {one["subPath"]: one for one in VALUES["singleuser"]["storage"]["extraVolumeMounts"]}
    writable = {path for path, one in mounts.items() if not one.get("readOnly")}
    assert writable == {"handed-in/{unescaped_username}"}
    shared = {path for path in mounts if not path.endswith("/{unescaped_username}")}
    assert shared == {"exchange/attention/outbound"}


@pytest.fixture
def hub(tmp_path):
    """Lay out the volume by the job's own command, and give each server its mounts as symbolic links."""
    volume = tmp_path / "volume"
    volume.mkdir()
    [container] = JOB["spec"]["template"]["spec"]["containers"]
    *shell, script = container["command"]
    # chown needs root; here everything belongs to the one who runs the test
    script = re.sub(r"^chown .*$", "", script, flags=re.MULTILINE).replace("cd /volume", f"cd '{volume}'")
    subprocess.run([*shell, script], check=True)

    def server(user, instructor=False):
        root = tmp_path / user
        for mount in VALUES["singleuser"]["storage"]["extraVolumeMounts"]:
            folder = volume / mount["subPath"].format(unescaped_username=user)
            folder.mkdir(exist_ok=True)
            place = root / mount["mountPath"].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(folder)
        if instructor:
            (root / "srv/nbgrader/volume").symlink_to(volume)
        config = root / "config"
        config.mkdir()
        for folder in (EVERYONE, INSTRUCTORS) if instructor else (EVERYONE,):
            text = (folder / "nbgrader_config.py").read_text(encoding="utf-8")
            (config / "nbgrader_config.py").write_text(re.sub(r'= "/', f'= "{root}/', text), encoding="utf-8")
        home = root / "home/jovyan"

        def nbgrader(*words, folder=""):
            return subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "nbgrader", *words],
                cwd=home / folder,
                env={
                    **os.environ,
                    "HOME": str(home),
                    "JUPYTER_CONFIG_PATH": str(config),
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                },
                capture_output=True,
                text=True,
            )

        return SimpleNamespace(home=home, nbgrader=nbgrader)

    return SimpleNamespace(volume=volume, server=server)


@pytest.fixture
def gather():
    """Load `deploy/gather.py`, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("gather", DEPLOY / "gather.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_homework_goes_around(hub, gather, capsys):
    ada, alice = hub.server("ada", instructor=True), hub.server("alice")
    release = ada.home / "course/release/HW1"
    release.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(), release / "multihead-split-heads.ipynb")
    for server, words, folder in (
        (ada, ("release_assignment", "HW1"), "course"),
        (alice, ("fetch_assignment", "HW1"), ""),
        (alice, ("submit", "HW1"), ""),
    ):
        done = server.nbgrader(*words, folder=folder)
        assert done.returncode == 0, done.stderr
    [submission] = (hub.volume / "handed-in" / "alice").iterdir()
    course = ada.home / "course"
    assert gather.main(["HW1", "--handed-in", str(hub.volume / "handed-in"), "--course", str(course)]) == 0
    assert "HW1: 1 gathered" in capsys.readouterr().out
    gathered = sorted(path.relative_to(course) for path in (course / "submitted").rglob("*.*"))
    assert gathered == [
        Path("submitted/alice/HW1/multihead-split-heads.ipynb"),
        Path("submitted/alice/HW1/timestamp.txt"),
    ]
    stamp = (course / "submitted/alice/HW1/timestamp.txt").read_text(encoding="utf-8")
    assert submission.name.split("+")[2] == stamp


def test_the_hub_refuses_to_run_students_code(hub, tmp_path):
    ada = hub.server("ada", instructor=True)
    course = ada.home / "course"
    ran = tmp_path / "ran"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"open({str(ran)!r}, 'w')")])
    for folder in ("source/HW1", "submitted/alice/HW1"):
        (course / folder).mkdir(parents=True)
        nbformat.write(notebook, course / folder / "a.ipynb")
    assert ada.nbgrader("generate_assignment", "HW1", folder="course").returncode == 0
    done = ada.nbgrader("autograde", "HW1", folder="course")
    assert done.returncode != 0
    assert "No such kernel named grade-on-the-grading-host" in done.stderr
    assert not ran.exists()


# --- gather.py --------------------------------------------------------------------------------------------


@pytest.fixture
def run(gather, tmp_path, capsys):
    """Gather HW1 from ``handed-in`` into ``course``, and return the exit status and the lines."""
    (tmp_path / "handed-in").mkdir()

    def call(*words):
        places = ["--handed-in", str(tmp_path / "handed-in"), "--course", str(tmp_path / "course")]
        status = gather.main([*(words or ["HW1"]), *places])
        return status, capsys.readouterr().out.splitlines()

    return call


def hand_in(tmp_path, student, name, **files):
    """Write a submission into a student's folder and return its path."""
    folder = tmp_path / "handed-in" / student / name
    folder.mkdir(parents=True)
    for stem, text in files.items():
        (folder / f"{stem}.ipynb").write_text(text, encoding="utf-8")
    return folder


def test_the_last_submission_counts(run, tmp_path):
    hand_in(tmp_path, "bob", "bob+HW1+2026-11-20 09:00:00 UTC+zzz", a="old")
    hand_in(tmp_path, "bob", "bob+HW1+2026-11-21 08:00:00 UTC+aaa", a="new")
    hand_in(tmp_path, "bob", "bob+HW10+2026-12-01 08:00:00 UTC+aaa", a="other")
    assert run() == (0, ["HW1: 1 gathered, 0 were there already (--update replaces them)"])
    assert (tmp_path / "course/submitted/bob/HW1/a.ipynb").read_text(encoding="utf-8") == "new"


def test_the_folder_says_whose_work_it_is(run, tmp_path):
    hand_in(tmp_path, "eve", "bob+HW1+2026-11-21+x", a="forged")
    run()
    assert [path.name for path in (tmp_path / "course/submitted").iterdir()] == ["eve"]


def test_what_was_gathered_stays_unless_update_is_asked_for(run, tmp_path):
    hand_in(tmp_path, "bob", "bob+HW1+2026-11-20+x", a="first", b="b")
    run()
    hand_in(tmp_path, "bob", "bob+HW1+2026-11-21+x", a="second")
    target = tmp_path / "course/submitted/bob/HW1"
    assert run()[1] == ["HW1: 0 gathered, 1 were there already (--update replaces them)"]
    assert (target / "a.ipynb").read_text(encoding="utf-8") == "first"
    assert run("HW1", "--update")[1] == ["HW1: 1 gathered, 0 were there already (--update replaces them)"]
    assert {path.name: path.read_text(encoding="utf-8") for path in target.iterdir()} == {"a.ipynb": "second"}


def test_only_plain_notebooks_are_taken(run, tmp_path, gather, monkeypatch):
    secret = tmp_path / "gradebook.db"
    secret.write_text("everybody's grades", encoding="utf-8")
    folder = hand_in(tmp_path, "bob", "bob+HW1+2026-11-21+x", good="1", large="12345")
    (folder / "link.ipynb").symlink_to(secret)
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "folder.ipynb").mkdir()
    (folder / "nbgrader_config.py").write_text("raise SystemExit", encoding="utf-8")
    monkeypatch.setattr(gather, "LARGEST", 4)
    status, lines = run()
    assert status == 1
    assert sorted(lines[1:]) == [
        "left out: bob: folder.ipynb is no plain file",
        "left out: bob: large.ipynb is larger than 0 MB",
        "left out: bob: link.ipynb is a link or cannot be read (Too many levels of symbolic links)",
        "left out: bob: pipe.ipynb is no plain file",
    ]
    assert [path.name for path in (tmp_path / "course/submitted/bob/HW1").iterdir()] == ["good.ipynb"]


def test_a_link_in_place_of_a_submission_is_not_followed(run, tmp_path):
    elsewhere = tmp_path / "course-of-ada"
    elsewhere.mkdir()
    (elsewhere / "a.ipynb").write_text("solution", encoding="utf-8")
    (tmp_path / "handed-in/eve").mkdir()
    (tmp_path / "handed-in/eve/eve+HW1+2026-11-21+x").symlink_to(elsewhere)
    hand_in(tmp_path, "bob", "bob+HW1+2026-11-21+x", a="1")
    status, lines = run()
    assert status == 1
    assert lines[0].startswith("HW1: 1 gathered")
    assert re.fullmatch(r"left out: eve: eve\+HW1\+2026-11-21\+x is a link or no folder \(.+\)", lines[1])
    assert not (tmp_path / "course/submitted/eve").exists()


def test_a_submission_without_notebooks_is_named(run, tmp_path):
    hand_in(tmp_path, "bob", "bob+HW1+2026-11-21+x")
    assert run()[1][1] == "left out: bob: bob+HW1+2026-11-21+x holds no notebook that can be taken"


@pytest.mark.parametrize("name", ["alice@example.org", ".hidden", "-x", "a b"])
def test_names_that_the_class_list_cannot_have_are_left_out(run, tmp_path, name):
    hand_in(tmp_path, name, "x+HW1+2026-11-21+x", a="1")
    status, lines = run()
    assert status == 1
    assert lines[1].startswith(f"left out: {name!r}: a student_id has 1 to 64")


def test_ids_are_those_of_the_class_list(gather):
    assert gather.ID.pattern == ID.pattern


@pytest.mark.parametrize("name", ["", "../HW1", "a+b", ".HW1"])
def test_an_assignment_has_a_plain_name(run, capsys, name):
    with pytest.raises(SystemExit):
        run(name)
    assert f"assignment must be a plain name without + and /, got {name!r}" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(gather, tmp_path, capsys):
    with pytest.raises(SystemExit):
        gather.main(["HW1", "--handed-in", str(tmp_path / "no")])
    assert f"--handed-in must be a folder, got {tmp_path / 'no'}" in capsys.readouterr().err
