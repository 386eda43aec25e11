"""Connections that the network policies allow, by pod and port."""
import ipaddress

import pytest

from chart import MATRIX, matches, render
from workloads import ports, workloads

NAMESPACE = "kubernetes.io/metadata.name"
# Port range for stream replication between nodes, which use the first free ones.
STREAMS = 6000, 6500
# Entries with unmodified network policies.
ENTRIES = [name for name in MATRIX if name not in ("minimal", "rabbitmq")]


class Network:
    """A model of the pods, which decides whether one may connect to another."""

    def __init__(self, objects):
        self.policies = [each["spec"] for each in objects.of("NetworkPolicy")]
        self.ports = ports(objects)
        self.pods = {name: {"labels": labels, "namespace": {NAMESPACE: "default"}}
                     for name, labels in workloads(objects).items()}
        for namespace in ("default", "monitoring", "kube-system", "elsewhere"):
            self.pods[f"pod in {namespace}"] = {
                "labels": {"app.kubernetes.io/name": "pod"}, "namespace": {NAMESPACE: namespace}}
        self.pods["outside"] = {"address": ipaddress.ip_address("198.51.100.7")}

    def allows(self, source, target, port, protocol="TCP"):
        number = self.ports.get(target, {}).get(port, port)
        names = {port, number} | {name for name, at in self.ports.get(target, {}).items() if at == number}
        return all(self._passes(*each, names, protocol) for each in (
            ("Egress", "egress", "to", source, target), ("Ingress", "ingress", "from", target, source)))

    def _passes(self, way, rules, peers, of, other, names, protocol):
        policies = [policy for policy in self.policies
                    if way in policy["policyTypes"] and self._selected(policy, of)]
        return not policies or any(
            self._port(rule, names, protocol) and self._peer(rule.get(peers), other)
            for policy in policies for rule in policy.get(rules, []))

    def _selected(self, policy, name):
        pod = self.pods[name]
        return (pod.get("namespace", {}).get(NAMESPACE) == "default"
                and matches(policy["podSelector"], pod["labels"]))

    @staticmethod
    def _port(rule, names, protocol):
        return "ports" not in rule or any(
            each.get("protocol", "TCP") == protocol and (
                each["port"] in names
                or "endPort" in each and any(number in range(each["port"], each["endPort"] + 1)
                                             for number in names))
            for each in rule["ports"])

    def _peer(self, peers, name):
        pod = self.pods[name]
        return not peers or any(self._is(peer, pod) for peer in peers)

    @staticmethod
    def _is(peer, pod):
        if "ipBlock" in peer:
            return "address" in pod and pod["address"] in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        if "address" in pod:
            return False
        namespace = peer.get("namespaceSelector", {NAMESPACE: "default"})
        return (matches(namespace, pod["namespace"])
                and matches(peer.get("podSelector", {}), pod["labels"]))


@pytest.fixture
def network(objects):
    return Network(objects)


@pytest.fixture
def default_network():
    return Network(render())


def test_no_network_policies_when_disabled():
    assert not render(MATRIX["minimal"]).of("NetworkPolicy")


def test_every_permanent_pod_is_covered_by_a_policy(network):
    for name in set(network.pods) & {"replica", "rabbitmq"}:
        for way in ("Ingress", "Egress"):
            assert any(way in policy["policyTypes"] and network._selected(policy, name)
                       for policy in network.policies), (name, way)


def test_policies_name_existing_ports(network):
    for policy in network.policies:
        [of] = [name for name in network.pods if network._selected(policy, name)]
        known = network.ports[of]
        for rule in policy["ingress"]:
            for port in rule["ports"]:
                assert port["port"] in {*known, *known.values(), STREAMS[0]}


def test_clients_may_connect_from_anywhere_by_default(default_network):
    for source in ("pod in elsewhere", "pod in default", "outside", "test"):
        assert default_network.allows(source, "replica", "clients")


def test_clients_from_limits_client_addresses(default_network):
    gateways = {"namespaceSelector": {"matchLabels": {NAMESPACE: "elsewhere"}}}
    network = Network(render({"networkPolicy": {"clientsFrom": [gateways]}}))
    assert network.allows("pod in elsewhere", "replica", "clients")
    assert network.allows("test", "replica", "clients")
    for source in ("pod in default", "outside", "rabbitmq"):
        assert not network.allows(source, "replica", "clients")


def test_only_monitoring_may_read_metrics(default_network):
    for target, port in (("replica", "admin"), ("rabbitmq", "prometheus")):
        allowed = [name for name in default_network.pods
                   if default_network.allows(name, target, port)]
        assert allowed == ["pod in monitoring"]


def test_only_monitoring_may_reach_the_admin_port(entry, network):
    if entry != "extras":
        allowed = [name for name in network.pods if network.allows(name, "replica", "admin")]
        assert allowed == ["pod in monitoring"]


def test_only_replicas_may_reach_amqp(network):
    if "rabbitmq" in network.pods:
        allowed = [name for name in network.pods if network.allows(name, "rabbitmq", "amqp")]
        assert allowed == ["replica"]
        assert not network.allows("replica", "rabbitmq", "management")
    else:
        assert network.allows("replica", "outside", 5671)


def test_only_rabbitmq_nodes_may_reach_cluster_ports(network):
    if "rabbitmq" in network.pods:
        for port in ("epmd", "clustering", *STREAMS):
            assert [name for name in network.pods if network.allows(name, "rabbitmq", port)] == [
                "rabbitmq"]


def test_all_pods_may_reach_dns(entry, network):
    if entry != "ipv6":
        for protocol in ("UDP", "TCP"):
            for source in set(network.pods) & {"replica", "rabbitmq"}:
                assert network.allows(source, "pod in kube-system", 53, protocol)


def test_all_pods_may_reach_dns_of_openshift():
    openshift = [{"namespaceSelector": {"matchLabels": {NAMESPACE: "elsewhere"}}}]
    network = Network(render({"networkPolicy": {"dnsTo": openshift}}))
    for source in ("replica", "rabbitmq"):
        assert network.allows(source, "pod in elsewhere", 5353, "UDP")


def test_all_other_egress_is_denied(default_network):
    for source in ("replica", "rabbitmq"):
        for target in ("pod in elsewhere", "pod in default", "outside"):
            for port in (80, 443, 4318, 6443, 8080):
                assert not default_network.allows(source, target, port)


def test_replicas_may_reach_the_collector():
    network = Network(render(MATRIX["monitoring"]))
    assert network.allows("replica", "pod in monitoring", 4318)
    assert not network.allows("replica", "pod in elsewhere", 4318)
    assert not network.allows("replica", "pod in monitoring", 9090)


@pytest.mark.parametrize("endpoint, port", [
    ("http://collector:4318", 4318), ("http://collector", 80), ("https://collector/otlp", 443),
    ("http://[2001:db8::4]:4318", 4318), ("https://[2001:db8::4]/v1", 443),
    ("http://192.0.2.1:14318/a:1", 14318)])
def test_egress_allows_the_port_of_the_otlp_endpoint(endpoint, port):
    network = Network(render({"tracing": {"otlpEndpoint": endpoint}}))
    assert network.allows("replica", "outside", port)
    assert not network.allows("replica", "outside", port + 1)


def test_named_peers_may_reach_rabbitmq():
    backends = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "pod"}}}
    network = Network(render({"rabbitmq": {"networkPolicy": {"amqpFrom": [backends],
                                                             "managementFrom": [backends]}}}))
    for port in ("amqp", "management"):
        assert network.allows("pod in default", "rabbitmq", port)
        assert not network.allows("pod in elsewhere", "rabbitmq", port)


def test_rabbitmq_nodes_use_ipv6_in_ipv6_clusters(entry, objects):
    for node in objects.of("StatefulSet"):
        spec = node["spec"]["template"]["spec"]
        for each in spec["initContainers"] + spec["containers"]:
            set_to = {var["name"]: var.get("value") for var in each["env"]}
            for name in ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "RABBITMQ_CTL_ERL_ARGS"):
                assert set_to.get(name) == ("-proto_dist inet6_tcp" if entry == "ipv6" else None)
