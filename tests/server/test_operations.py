"""docs/operations: dashboard, alerts, compose and Kubernetes name what there is; nothing here runs a container."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.http.app import create_app
from server.http.scopes import all_routes
from server.metrics import Metrics
from server.settings import Settings
from tests.server.client import Participant, running

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "operations"
README = (FOLDER / "README.md").read_text()
OF_PROMETHEUS = {"up", "job", "instance"}  # made by the scrape itself
METRIC = re.compile(r"\b((?:relight|process)_[a-z_]+|up)(?=[\s{\[)]|$)")


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for group in load("alerts.yml")["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Every expression of dashboard and alerts, `$instance` filled in."""
    panels = json.loads((FOLDER / "grafana" / "relight.json").read_text())["panels"]
    drawn = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [each.replace("$instance", ".*") for each in drawn] + [rule["expr"] for rule in alerts()]


def exported() -> dict[str, set[str]]:
    """Names that a query may use → their labels, of a server with one sample of everything."""
    metrics = Metrics()
    metrics.observe_frame("ratio", True, 0.01)
    for direction in ("encode", "decode"):
        metrics.observe_coding(direction, "vp8", 0.001)
    for counter in (metrics.refused, metrics.errors, metrics.messages, metrics.ended):
        counter.labels("x").inc()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_dashboard_and_alerts_name_metrics_and_labels_that_exist() -> None:
    """Each metric is in a live server's /metrics, and each label that a query selects or groups by belongs to it."""
    async with running() as server, httpx.AsyncClient(trust_env=False) as client, Participant(server.ws) as tab:
        await tab.offer()
        await tab.pictures(2)
        text = (await client.get(server.http + "/metrics")).text
    families = {family.name for family in text_string_to_metric_families(text)}
    labels = exported()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for expression in expressions():
        names = set(METRIC.findall(re.sub(r"\{[^}]*\}", "{}", expression))) - OF_PROMETHEUS
        assert names or expression.startswith("up{"), expression
        for name in names:
            assert re.sub(r"_(total|bucket|sum|count)$", "", name) in families, f"{name} in {expression}"
            assert name in labels, f"{name} in {expression}"
        allowed = OF_PROMETHEUS.union(*(labels[name] for name in names))
        used = {
            label for chosen in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)[=!]", chosen)
        }
        used |= {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", expression) for label in by.split(",")}
        assert used <= allowed, expression


def test_what_alerts_count_begins_with_zero() -> None:
    """Prometheus sees no increase in a series that begins with 1: each value that an increase asks about is there."""
    samples = [s for family in text_string_to_metric_families(Metrics().text().decode()) for s in family.samples]
    asked = re.findall(
        r"(?:increase|rate)\((\w+_total)\{(\w+)=~?\"([^\"]*)\"\}", " ".join(rule["expr"] for rule in alerts())
    )
    assert len(asked) >= 4
    for name, label, values in asked:
        for value in values.split("|"):
            assert any(each.name == name and each.labels == {label: value} for each in samples), (name, value)


def test_the_page_lists_every_metric_and_what_to_do_about_every_alert() -> None:
    """The table of metrics is that of /metrics; each alert has its row."""
    told = set(re.findall(r"^\| `(relight_[a-z_]+)", README, re.MULTILINE))
    families = text_string_to_metric_families(Metrics().text().decode())
    there = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    there = {name for name in there if name.startswith("relight") and not name.endswith("_created")}
    assert told == there
    assert re.findall(r"^\| `(Relight\w+)`", README, re.MULTILINE) == [rule["alert"] for rule in alerts()]


def test_rules_are_whole() -> None:
    """Every alert has an expression, a severity and a summary; brackets close."""
    for rule in alerts():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "warning")
        assert rule["annotations"]["summary"]
    for expression in expressions():
        bare = re.sub(r'"[^"]*"', '""', expression)
        assert [bare.count(each) for each in "({["] == [bare.count(each) for each in ")}]"]


def test_compose_names_settings_files_and_targets_that_exist() -> None:
    """Variables are settings, mounted files lie in the repository, every ${NAME} is in env.example."""
    services, cuda = load("compose.yaml")["services"], load("compose.cuda.yaml")["services"]
    assert set(services) == {"relight", "coturn", "prometheus", "grafana"}
    settings = {f"RELIGHT_{name.upper()}" for name in Settings.model_fields}
    assert services["relight"]["environment"].keys() <= settings
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (
                (FOLDER / source).exists() if source.startswith(".") else source in load("compose.yaml")["volumes"]
            ), name
    wanted = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text()))
    given = {line.partition("=")[0] for line in (FOLDER / "env.example").read_text().splitlines() if "=" in line}
    assert wanted == given - {"`openssl rand"}
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {services["relight"]["build"]["target"], cuda["relight"]["build"]["target"]} == targets == {"cpu", "cuda"}
    secret = next(each for each in services["coturn"]["command"] if "static-auth-secret" in each)
    assert secret.partition("=")[2].strip("${}") == "TURN_SECRET"
    assert "--use-auth-secret" in services["coturn"]["command"]
    provisioned = load("grafana/provisioning/dashboards/relight.yaml")["providers"][0]["options"]["path"]
    assert any(f":{provisioned}/relight.json" in mount for mount in services["grafana"]["volumes"])


def pod() -> dict[str, Any]:
    """The pod of the Kubernetes example."""
    documents = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    assert [each["kind"] for each in documents] == ["Deployment", "Service", "PodDisruptionBudget"]
    return documents[0]["spec"]["template"]["spec"]


def test_the_pod_has_settings_probes_and_a_gpu_that_exist() -> None:
    """Probes ask routes of ours, variables are settings, one GPU each, and time enough to drain."""
    [container] = pod()["containers"]
    paths = {getattr(route, "path", "") for route in all_routes(create_app(Settings()).routes)}
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert set(probes.values()) <= paths
    assert {each["name"] for each in container["env"]} <= {f"RELIGHT_{name.upper()}" for name in Settings.model_fields}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    waits_s = sum(
        int(each)
        for each in re.findall(r"(?:sleep\(|\(\) \+ )(\d{2,})", container["lifecycle"]["preStop"]["exec"]["command"][2])
    )
    assert pod()["terminationGracePeriodSeconds"] > waits_s + 5 > 600


async def test_the_pod_waits_for_its_participants_before_it_ends() -> None:
    """The preStop script, with its first pause shortened, ends when the last participant has left, and not before."""
    [container] = pod()["containers"]
    script = container["lifecycle"]["preStop"]["exec"]["command"][2]
    assert script.count("sleep(10)") == script.count(":8080/") == 1
    async with running() as server:
        script = (
            script.replace("sleep(10)", "sleep(0)")
            .replace(":8080/", f":{server.port}/")
            .replace("sleep(1)", "sleep(0.1)")
        )
        async with Participant(server.ws) as tab:
            await tab.offer()
            waiting = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
            await tab.pictures(20)
            assert waiting.returncode is None
        assert await asyncio.wait_for(waiting.wait(), 30) == 0
