"""The chart, rendered by helm itself (built once, about 90 s of CPU), for processors and for a GPU."""

import jsonschema
import pytest

from deploy.manifests import topic_entries
from schemas.access import ACCESS
from schemas.rules import TICKS
from schemas.topics import topics
from streams.settings import Settings
from tests.integration.rendering import (
    EVERYTHING,
    KUBERNETES,
    custom_schemas,
    is_custom,
    lint,
    of_kind,
    refusal,
    template,
    validated,
)

KINDS = ("values-cpu.yaml", "values-gpu.yaml")
STRIMZI = {
    "KafkaTopic": {"topicName", "partitions", "replicas", "config"},
    "KafkaUser": {"authentication", "authorization"},
    "KafkaNodePool": {"replicas", "roles", "storage", "resources", "jvmOptions"},
    "Kafka": {"kafka", "entityOperator"},
}
"""Fields that the chart may use: Strimzi's definitions are in no package that can be had."""


@pytest.fixture(scope="module", params=KINDS)
def whole(request):
    return template(request.param, values=EVERYTHING)


@pytest.fixture(scope="module")
def plain():
    return template()


@pytest.mark.timeout(1800)  # the first time helm is built
@pytest.mark.parametrize("kind", KINDS)
def test_helm_finds_nothing_to_say(kind):
    code, said = lint(kind, values=EVERYTHING)
    assert code == 0, said


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid_for_kubernetes(whole, version, tmp_path):
    own = [each for each in whole if not is_custom(each)]
    assert len(own) > 20
    assert validated(tmp_path, own, version) == ""


def test_an_object_that_is_wrong_is_refused(plain, tmp_path):
    wrong = of_kind(plain, "StatefulSet")["foreshock-infer"]
    spec = wrong["spec"] | {"replicas": "one", "replica": 2}
    assert "replica" in validated(tmp_path, [wrong | {"spec": spec}], KUBERNETES[0])


def test_custom_resources_have_the_shape_of_their_definitions(whole):
    checked = set()
    for each in filter(is_custom, whole):
        if each["apiVersion"].startswith("kafka.strimzi.io/"):
            assert each["spec"].keys() <= STRIMZI[each["kind"]], each["kind"]
        else:
            schema = custom_schemas()[each["apiVersion"], each["kind"]]
            jsonschema.validate(each, schema, cls=jsonschema.Draft202012Validator)
        checked.add(each["kind"])
    assert checked >= {*STRIMZI, "ScaledObject", "TriggerAuthentication", "PodMonitor", "ServiceMonitor"}


def test_what_is_scraped_has_the_names_that_rules_ask_for(whole):
    (pods,) = of_kind(whole, "PodMonitor").values()
    (triton,) = of_kind(whole, "ServiceMonitor").values()
    for job, endpoints in (("foreshock", pods["spec"]["podMetricsEndpoints"]), ("triton", triton["spec"]["endpoints"])):
        (endpoint,) = endpoints
        assert {"targetLabel": "job", "replacement": job} in endpoint["relabelings"]


def test_topics_are_those_of_the_schemas(plain):
    found = {each["spec"]["topicName"]: each["spec"] for each in of_kind(plain, "KafkaTopic").values()}
    declared = topics(TICKS)
    assert found.keys() == declared.keys()
    for name, topic in declared.items():
        assert (found[name]["partitions"], found[name]["config"]) == (topic.partitions, topic.config())


def test_partitions_follow_the_same_values_as_the_processes():
    counts = {"partitions": 12, "raw_exchange_partitions": 6, "raw_onchain_partitions": 2}
    objects = template(values=counts)
    settings = Settings.from_environment(_environment(of_kind(objects, "StatefulSet")["foreshock-featurize"]))
    declared = topics(settings.rules)
    for each in of_kind(objects, "KafkaTopic").values():
        assert each["spec"]["partitions"] == declared[each["spec"]["topicName"]].partitions
    assert {entry["count"] for entry in topic_entries()} - {""} <= {*counts, "raw_sentiment_partitions"}


def test_users_may_do_what_they_do_and_nothing_else(whole):
    found = of_kind(whole, "KafkaUser")
    for user, access in ACCESS.items():
        rules = found[f"foreshock-{user}"]["spec"]["authorization"]["acls"]
        written = {rule["resource"]["name"] for rule in rules if "Write" in rule["operations"]}
        groups = {rule["resource"]["name"] for rule in rules if rule["resource"]["type"] == "group"}
        assert (written, groups) == (set(access.writes), set(access.groups))
        assert {operation for rule in rules for operation in rule["operations"]} <= {
            "Read", "Write", "Describe", "DescribeConfigs",
        }  # fmt: skip


def test_every_process_gets_settings_that_it_takes(whole):
    stages = of_kind(whole, "StatefulSet")
    assert len(stages) == 6
    for each in (*stages.values(), *of_kind(whole, "Job").values()):
        settings = Settings.from_environment(_environment(each))
        assert settings.kafka_security == "SASL_SSL"
        assert settings.partitions == 4


def test_a_workers_number_is_its_pods(plain):
    for each in of_kind(plain, "StatefulSet").values():
        found = {entry["name"]: entry for entry in _containers(each)[0]["env"]}
        path = found["FORESHOCK_WORKER"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert path == "metadata.labels['apps.kubernetes.io/pod-index']"
        # A Service's variables would begin with FORESHOCK_ too, and be refused as unknown settings.
        assert each["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_no_container_may_more_than_it_needs(whole):
    pods = [each for kind in ("StatefulSet", "Deployment", "Job") for each in of_kind(whole, kind).values()]
    assert len(pods) == 8
    for each in pods:
        spec = each["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in _containers(each):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= container["resources"].keys()
            assert "memory" in container["resources"]["limits"]


def test_what_is_not_allowed_is_denied(whole):
    policies = of_kind(whole, "NetworkPolicy")
    deny = policies["foreshock-default-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny.keys()
    for name, each in policies.items():
        for rule in (*each["spec"].get("ingress", ()), *each["spec"].get("egress", ())):
            assert rule.get("ports"), name


def test_a_stage_grows_to_its_partitions_and_no_further():
    objects = template(values=EVERYTHING | {"partitions": 6, "raw_exchange_partitions": 3})
    found = {name: each["spec"]["maxReplicaCount"] for name, each in of_kind(objects, "ScaledObject").items()}
    assert found == {"foreshock-ingest": 3, **{f"foreshock-{each}": 6 for each in ("featurize", "infer", "score")}}
    for name, each in of_kind(objects, "StatefulSet").items():
        assert ("replicas" in each["spec"]) is (name not in found)


def test_disruptions_take_one_at_a_time(whole):
    pods = {**of_kind(whole, "StatefulSet"), **of_kind(whole, "Deployment")}
    budgets = of_kind(whole, "PodDisruptionBudget")
    assert budgets.keys() == pods.keys()
    assert {each["spec"]["maxUnavailable"] for each in budgets.values()} == {1}


def test_a_gpu_is_asked_for_where_there_is_one():
    asked = {}
    for kind in KINDS:
        triton = of_kind(template(kind), "Deployment")["foreshock-triton"]
        container = _containers(triton)[0]
        asked[kind] = (container["resources"]["limits"].get("nvidia.com/gpu"), container["image"])
    assert asked == {
        "values-cpu.yaml": (None, "foreshock/triton:0.2.0"),
        "values-gpu.yaml": (1, "foreshock/triton-gpu:0.2.0"),
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stages": {"store": {"enabled": True, "replicas": 2}}}, "stages.store.replicas: this stage runs once"),
        ({"stages": {"infer": {"replicas": 5}}}, "5 workers for 4 partitions"),
        ({"partition": 3}, "partition"),
        ({"kafka": {"enabled": False}}, "name the brokers, or set kafka.enabled"),
        ({"images": {"stages": {"digest": "latest"}}}, "digest"),
    ],
)
def test_values_that_cannot_work_are_refused_with_the_reason(values, said):
    assert said in refusal(values)


def test_other_brokers_may_be_named():
    brokers = {"enabled": False, "bootstrapServers": "a:9094,b:9095", "caSecret": "brokers-ca"}
    objects = template(values={"kafka": brokers})
    assert not [each for each in objects if each["apiVersion"].startswith("kafka.strimzi.io/")]
    settings = Settings.from_environment(_environment(of_kind(objects, "StatefulSet")["foreshock-score"]))
    assert settings.bootstrap_servers == "a:9094,b:9095"


def _containers(each):
    return each["spec"]["template"]["spec"]["containers"]


def _environment(each):
    return {entry["name"]: entry.get("value", "0") for entry in _containers(each)[0]["env"]}
