"""The files for a hub: keys that the chart knows, closed doors, versions that agree, an image by the rules.

No cluster, helm or docker here: `deploy/schema/README.md` says what that leaves open.
"""

import fnmatch
import importlib.metadata
import math
import re
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import attncourse
from tests.packaging.test_binder import PIP as BINDER_PIP
from tests.packaging.test_requirements import PINS, PROJECT, imported_names

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "book" / "growing.md"
VALUES = yaml.safe_load((DEPLOY / "values.yaml").read_text(encoding="utf-8"))
SITE = yaml.safe_load((DEPLOY / "site.example.yaml").read_text(encoding="utf-8"))
CLAIM, JOB = yaml.safe_load_all((DEPLOY / "exchange.yaml").read_text(encoding="utf-8"))
SCHEMA = yaml.safe_load((DEPLOY / "schema" / "jupyterhub-chart.schema.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (PAGE, *sorted(DEPLOY.glob("*.*")))
    if path.name != "site.yaml"
}

pytestmark = pytest.mark.packaging


# --- keys that the chart knows -----------------------------------------------------------------------


def problems(values):
    """Return what the excerpt of the chart's schema says against values."""
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)]


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("values", [VALUES, SITE], ids=["values.yaml", "site.example.yaml"])
def test_values_keep_to_the_schema(values):
    assert problems(values) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("singeluser", {}),
        ("auth", {"type": "github"}),  # of a chart before 1.0
        ("hub.authenticator", "x"),
        ("singleuser.memory.limits", "2G"),
        ("singleuser.memory.limit", ["2G"]),
        ("singleuser.cpu.guarantee", "250m"),
        ("singleuser.image.tags", "1"),
        ("singleuser.image.tag", 1.0),
        ("singleuser.storage.extraVolumeMount", []),
        ("singleuser.storage.type", "shared"),
        ("singleuser.networkPolicy.egressAllowRules.nonPrivateIP", False),
        ("singleuser.lifecycleHooks.postStop", {}),
        ("cull.timeOut", 3600),
        ("cull.maxAge", "12h"),
        ("prePuller.hook.enable", True),
        ("prePuller.continuous.enabled", "yes"),
        ("scheduling.userScheduler.enabled", "yes"),
        ("hub.extraConfig.number", 1),
        ("proxy.https.host", "hub.example.org"),
        ("proxy.https.letsencrypt.email", "admin@example.org"),
    ],
)
def test_a_planted_fault_is_found(path, value):
    values = deepcopy(VALUES)
    *above, key = path.split(".")
    place = values
    for name in above:
        place = place.setdefault(name, {})
    place[key] = value
    [message] = problems(values)
    assert str(value) in message or key in message


def unread(values, rule, path=""):
    """Yield the keys of values about which the schema says nothing."""
    if isinstance(rule, dict) and "$ref" in rule:
        rule = SCHEMA["definitions"][rule["$ref"].rsplit("/", 1)[1]]
    if rule is True:
        yield path
    elif isinstance(values, dict) and "properties" in rule:
        for key, value in values.items():
            yield from unread(value, rule["properties"].get(key, True), f"{path}.{key}".lstrip("."))


@pytest.mark.parametrize("values", [VALUES, SITE], ids=["values.yaml", "site.example.yaml"])
def test_no_key_passes_because_nothing_is_known_of_it(values):
    assert list(unread(values, SCHEMA)) == []


def test_a_key_of_which_nothing_is_known_is_found():
    assert list(unread({"ingress": {"enabled": True}, "hub": {"pdb": {}}}, SCHEMA)) == ["ingress", "hub.pdb"]


# --- closed doors --------------------------------------------------------------------------------------


def leaves(tree, path=()):
    """Yield every value of nested mappings and lists with the keys that lead to it."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_nobody_can_log_in_as_it_stands():
    assert VALUES["hub"]["config"] == {
        "JupyterHub": {"authenticator_class": "jupyterhub.auth.NullAuthenticator"}
    }


@pytest.mark.parametrize("values", [VALUES, SITE], ids=["values.yaml", "site.example.yaml"])
def test_no_secret_and_no_open_login(values):
    secret = re.compile(
        r"secret$|secrettoken|cookie_?secret|password|api_?token|_key$|\bkeys$", re.IGNORECASE
    )
    found = {path: value for path, value in leaves(values) if secret.search(str(path[-1])) and value}
    assert found == {}
    assert not [
        value for _, value in leaves(values) if re.search("dummy|allow_all: true", str(value).lower())
    ]
    assert not [path for path, value in leaves(values) if path[-1] == "allow_all" and value]


def test_the_login_s_secret_comes_from_the_cluster():
    reference = SITE["hub"]["extraEnv"]["OAUTH_CLIENT_SECRET"]["valueFrom"]["secretKeyRef"]
    command = f"create secret generic {reference['name']} --from-file={reference['key']}=FILE"
    assert [name for name, text in TEXTS.items() if command in text] == [
        "growing.md",
        "README.md",
        "site.example.yaml",
    ]


def test_the_filled_in_settings_are_not_committed():
    assert "site.yaml" in (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()


def test_servers_are_ordinary_users_without_internet():
    server = VALUES["singleuser"]
    assert server["uid"] == 1000
    assert server["allowPrivilegeEscalation"] is False
    policy = server["networkPolicy"]
    assert policy["enabled"] is True
    assert policy["egressAllowRules"] == {
        "nonPrivateIPs": False,
        "privateIPs": False,
        "cloudMetadataServer": False,
    }


# --- versions that agree -------------------------------------------------------------------------------


def test_the_image_has_one_name_and_the_version_of_the_course():
    image = VALUES["singleuser"]["image"]
    assert image["tag"] == attncourse.__version__
    named = {
        name: set(re.findall(r"registry\.example\.org/[\w-]+:[\w.-]+", text))
        for name, text in {**TEXTS, "Dockerfile": DOCKERFILE}.items()
    }
    assert {name: images for name, images in named.items() if images} == {
        name: {f"{image['name']}:{image['tag']}"}
        for name in ("Dockerfile", "README.md", "exchange.yaml", "growing.md")
    }


def test_the_chart_has_one_version():
    texts = {**TEXTS, "schema": (DEPLOY / "schema" / "README.md").read_text(encoding="utf-8")}
    stated = {
        name: set(re.findall(r"--version (\S+)|, version (\d+\.\d+\.\d+)|chart (\d+\.\d+\.\d+)\b", text))
        for name, text in texts.items()
    }
    numbers = {number for found in stated.values() for group in found for number in group if number}
    assert numbers == {"4.4.0"}
    assert {name for name, found in stated.items() if found} >= {"values.yaml", "README.md", "growing.md"}


def image_requirements():
    """Return what the image installs, by name."""
    lines = (DEPLOY / "image-requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert len({one.name for one in wanted}) == len(wanted)
    return {canonicalize_name(one.name): one for one in wanted}


@pytest.mark.parametrize("name", image_requirements())
def test_a_version_stands_in_one_place(name):
    """In requirements.txt, or here, exactly; never in both, and never in neither."""
    wanted = image_requirements()[name]
    assert not wanted.url
    if name in PINS:
        assert str(wanted.specifier) == "", "requirements.txt has the version"
    else:
        assert re.fullmatch(r"==[\d.]+", str(wanted.specifier))


def test_versions_that_binder_has_as_well_agree():
    here = image_requirements()
    shared = [name for name in here if name in BINDER_PIP and str(here[name].specifier)]
    assert shared == ["jupyterlab-myst"]
    assert here["jupyterlab-myst"].specifier == BINDER_PIP["jupyterlab-myst"].specifier


def test_the_server_in_the_image_has_the_hub_s_version():
    [stated] = set(
        re.findall(r"JupyterHub (\d[\d.]*\d)", (DEPLOY / "schema" / "README.md").read_text(encoding="utf-8"))
    )
    assert str(image_requirements()["jupyterhub"].specifier) == f"=={stated}"


def test_what_the_package_and_the_chapters_import_is_installed():
    distributions = importlib.metadata.packages_distributions()
    chapters = {name for name, where in imported_names().items() if where.suffix == ".ipynb"}
    needed = {canonicalize_name(d) for name in chapters for d in distributions.get(name, [name])[:1]}
    needed |= {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert needed - image_requirements().keys() == set()


# --- the image -------------------------------------------------------------------------------------------


def instructions(text):
    """Yield the instructions of a Dockerfile as (word, rest), with continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n", " ", lines).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, " ".join(rest.split())


def sent_to_the_builder(source):
    """Say whether `Dockerfile.dockerignore` lets a path through."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    return any(source == one or fnmatch.fnmatch(source, one) or source.startswith(f"{one}/") for one in kept)


def dockerfile_problems(text):
    """Return what is wrong with a Dockerfile that is built from the root of the repository."""
    steps, found = list(instructions(text)), []
    bases = [rest for word, rest in steps if word == "FROM"]
    found += [
        f"base without an exact version: {base}"
        for base in bases
        if not re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+[\w.-]*", base)
    ]
    users = [rest for word, rest in steps if word == "USER"]
    if not bases or not users or users[-1].split(":")[0] in {"root", "0"}:
        found.append("runs as root")
    found += [f"ADD: {rest}" for word, rest in steps if word == "ADD"]
    found += [f"an address: {rest}" for _, rest in steps if re.search(r"https?://", rest)]
    for word, rest in steps:
        if word == "COPY":
            sources = [part for part in rest.split()[:-1] if not part.startswith("--")]
            found += [f"not there: {one}" for one in sources if not list(ROOT.glob(one))]
            found += [f"not sent to the builder: {one}" for one in sources if not sent_to_the_builder(one)]
        if word == "RUN":
            if re.search(r"apt(?:-get)? (?:-\S+ )*install", rest) and "rm -rf /var/lib/apt/lists" not in rest:
                found.append(f"apt without cleaning up: {rest}")
            for command in re.split(r"&&|;", rest):
                if re.search(r"\bpip install\b", command) and "--no-cache-dir" not in command:
                    found.append(f"pip with its cache: {command.strip()}")
                if re.search(r"\bpip install\b", command) and not re.search(
                    r"--constraint|--no-deps", command
                ):
                    found.append(f"pip without versions: {command.strip()}")
    return found


def test_the_dockerfile_keeps_the_rules():
    assert dockerfile_problems(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("python:3.11.14-slim-bookworm", "python:latest", "base without an exact version: python:latest"),
        ("python:3.11.14-slim-bookworm", "python:3.11", "base without an exact version: python:3.11"),
        ("python:3.11.14-slim-bookworm", "python", "base without an exact version: python"),
        ("USER 1000", "USER root", "runs as root"),
        ("USER 1000", "USER 0:100", "runs as root"),
        ("USER 1000\n", "", "runs as root"),
        ("COPY attncourse ", "COPY attncours ", "not there: attncours"),
        ("COPY book/results ", "COPY book/exercises ", "not sent to the builder: book/exercises"),
        ("USER 1000", "ADD x /x\nUSER 1000", "ADD: x /x"),
        ("USER 1000", "RUN curl https://x.org/y\nUSER 1000", "an address: curl https://x.org/y"),
        (
            "USER 1000",
            "RUN apt-get update && apt-get install -y git\nUSER 1000",
            "apt without cleaning up: apt-get update && apt-get install -y git",
        ),
        (
            "USER 1000",
            "RUN pip install --constraint c x\nUSER 1000",
            "pip with its cache: pip install --constraint c x",
        ),
        (
            "USER 1000",
            "RUN pip install --no-cache-dir x\nUSER 1000",
            "pip without versions: pip install --no-cache-dir x",
        ),
    ],
)
def test_a_fault_in_the_dockerfile_is_found(old, new, problem):
    assert old in DOCKERFILE
    found = dockerfile_problems(DOCKERFILE.replace(old, new, 1))
    assert problem in found


def test_cuda_stops_the_build():
    [check] = [
        rest for word, rest in instructions(DOCKERFILE) if word == "RUN" and "torch.version.cuda" in rest
    ]
    assert "--requirement /opt/course/image-requirements.txt" in check


# --- the page ----------------------------------------------------------------------------------------------


def test_the_page_reckons_with_the_settings():
    text = TEXTS["growing.md"]
    server = VALUES["singleuser"]
    memory, cores = server["memory"]["guarantee"], server["cpu"]["guarantee"]
    assert (memory, server["memory"]["limit"]) == ("1G", "2G")
    assert f"guarantee each student 1 GB and {cores:g} of a core, and stop a server that passes 2 GB" in text
    rows = re.findall(r"^\| (\d+) \| (\d+) GB \| ([\d.]+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    per_node = min((32 - 4) // 1, math.floor((8 - 1) / cores))
    for students, gigabytes, needed, nodes in ([float(cell) for cell in row] for row in rows):
        assert (gigabytes, needed) == (students, students * cores)
        assert nodes == math.ceil(students / per_node)
    assert f"so that {per_node} students fit" in text
    assert VALUES["cull"] == {"enabled": True, "timeout": 3600, "every": 600, "maxAge": 12 * 3600}


def test_commands_of_page_and_readme_are_the_same():
    """Both are complete by themselves, so the parts that both have must not drift apart."""
    own = [
        line.split("    #")[0]
        for line in TEXTS["README.md"].splitlines()
        if re.match("docker|kubectl|helm|  --", line)
    ]
    shown = {line.split("    #")[0] for line in TEXTS["growing.md"].splitlines()}
    assert [line for line in own if line not in shown] == []
