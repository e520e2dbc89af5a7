"""Starts the node: the runtime of containers, what Kubernetes runs on a node, and the network and names of pods.

    pod 10.244.0.x --bridge--> this network namespace: 192.0.2.1, the node
                                 10.0.0.1:443   Service kubernetes, kube-proxy sends it on to
                                 192.0.2.1:6443 socat, which sends it on to the API server on 127.0.0.1
                                 192.0.2.1:53   dnsmasq: the names of Services

The servers of the tests listen on 127.0.0.1 as always, where pods cannot reach them; `publish` gives one an address
that they can.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from harness.control_plane import ControlPlane, ControlPlaneError
from harness.control_plane.processes import Server
from harness.control_plane.waiting import poll_until
from harness.node import images
from harness.node.requirements import CNI_PLUGINS

ADDRESS = "192.0.2.1"
"""The node's address, also used as its name: names of nodes have to be resolved, addresses need not."""
PODS = "10.244.0.0/24"
DOMAIN = "cluster.local"
API_PORT = 6443
FIXED_PLACES = ("/run", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")

Check = Callable[[], bool]


def lay_out() -> None:
    """Creates the node's network, with the loopback interface that the control plane needs, and empty directories at
    the fixed paths of the node's programs. Everything is in namespaces of this process, so the machine stays
    unchanged."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        raise ControlPlaneError("This is not a network namespace of the tests' own: python -m harness.node makes one.")
    for directory in FIXED_PLACES:
        Path(directory).mkdir(parents=True, exist_ok=True)
    for command in (
        *(f"mount -t tmpfs node {directory}" for directory in FIXED_PLACES),
        "ip link set lo up",
        "ip link add node type bridge",
        f"ip addr add {ADDRESS}/24 dev node",
        "ip link set node up",
        f"ip route add default via {ADDRESS} dev node",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)


class Node:
    """A node of a control plane that was started with `nodes=True`."""

    def __init__(self, control_plane: ControlPlane, directory: Path) -> None:
        self._control_plane = control_plane
        self._directory = directory
        self._program = Path(os.environ["HARBORHOOK_NODE_PROGRAM"])
        self._socket = directory / "containerd.sock"
        self._cleanup = ExitStack()

    @classmethod
    @contextmanager
    def start(cls, control_plane: ControlPlane, directory: Path) -> Iterator[Node]:
        """Starts a node and waits until it runs pods."""
        node = cls(control_plane, directory)
        with node._cleanup:
            node._start_containerd()
            node._start_kubernetes()
            node._start_names()
            node._try_out()
            yield node

    def publish(self, port: int, *, at: int | None = None) -> str:
        """Makes a port of 127.0.0.1 reachable from pods; returns the address and port for them."""
        public = at or port
        listen = f"TCP-LISTEN:{public},bind={ADDRESS},fork,reuseaddr"
        self._serve(f"socat-{public}", ["socat", listen, f"TCP:127.0.0.1:{port}"])
        return f"{ADDRESS}:{public}"

    # Names

    def _start_names(self) -> None:
        """dnsmasq resolves Services from a file that is kept up to date while the node lives."""
        hosts = self._directory / "hosts"
        hosts.mkdir()
        command = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--bind-interfaces"]
        options = [f"--listen-address={ADDRESS}", "--except-interface=lo", f"--hostsdir={hosts}", "--pid-file="]
        options.append(f"--local=/{DOMAIN}/")  # unknown names get a negative answer: no other server has them
        self._serve("dnsmasq", [*command, *options])
        ended = threading.Event()
        writer = threading.Thread(target=self._name_services, args=(hosts, ended), daemon=True)
        writer.start()
        self._cleanup.callback(writer.join)
        self._cleanup.callback(ended.set)

    def _name_services(self, hosts: Path, ended: threading.Event) -> None:
        while not ended.wait(0.5):
            items = self._control_plane.admin.request("GET", "/api/v1/services")["items"]
            for item in items:
                name, namespace, address = item["metadata"]["name"], item["metadata"]["namespace"], item["spec"]
                file = hosts / f"{namespace}.{name}"
                line = f"{address['clusterIP']} {name}.{namespace}.svc.{DOMAIN}\n"
                if address["clusterIP"] != "None" and (not file.exists() or file.read_text() != line):
                    file.write_text(line)

    # Containers

    def _start_containerd(self) -> None:
        networks = self._directory / "networks"
        networks.mkdir()
        (networks / "pods.conflist").write_text(json.dumps(_pod_network(self._directory / "addresses")))
        config = self._directory / "containerd.toml"
        config.write_text(
            _CONTAINERD.format(directory=self._directory, pause=images.BASE, networks=networks, plugins=CNI_PLUGINS)
        )
        self._serve("containerd", ["containerd", "--config", config], lambda: self._ctr("version").returncode == 0)
        self._cleanup.callback(self._remove_containers)
        for archive in Path(os.environ["HARBORHOOK_NODE_IMAGES"]).glob("*.tar"):
            self._manage_images("import", str(archive))
        one, two = (f"{images.OPERATOR}:{tag}" for tag in images.TAGS)
        self._manage_images("tag", one, two)

    def _manage_images(self, *arguments: str) -> None:
        done = self._ctr("images", *arguments)
        if done.returncode != 0:
            raise ControlPlaneError(f"containerd refuses to {arguments[0]} an image: {done.stderr.strip()}")

    def _remove_containers(self) -> None:
        """Removes the remaining containers: the kernel keeps their control groups after their processes end."""
        for container in self._ctr("tasks", "list", "--quiet").stdout.split():
            self._ctr("tasks", "delete", "--force", container)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["ctr", f"--address={self._socket}", "--namespace=k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    # Kubernetes

    def _start_kubernetes(self) -> None:
        api = urlsplit(self._control_plane.url)
        assert api.port is not None
        self.publish(api.port, at=API_PORT)
        self._control_plane.apply(yaml.safe_dump(_ENDPOINTS))
        kubeconfig = f"--kubeconfig={self._control_plane.kubeconfig}"
        self._run_part("kubelet", self._kubelet_options(), self._is_ready)
        self._run_part("kube-scheduler", [kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"])
        self._run_part("kube-proxy", [self._config("kube-proxy", _proxy(self._control_plane.kubeconfig))])

    def _kubelet_options(self) -> list[str]:
        return [
            self._config("kubelet", _kubelet(self._directory, self._socket)),
            f"--kubeconfig={self._control_plane.kubeconfig}",
            f"--hostname-override={ADDRESS}",
            f"--node-ip={ADDRESS}",
            f"--root-dir={self._directory / 'kubelet'}",
            f"--cert-dir={self._directory / 'kubelet-certificates'}",
        ]

    def _try_out(self) -> None:
        """Runs a pod that resolves and calls the API server: if that works, pods have everything they need."""
        self._control_plane.apply(yaml.safe_dump(_TRIAL))
        path = "/api/v1/namespaces/default/pods/trial"
        admin = self._control_plane.admin
        if not poll_until(lambda: admin.request("GET", path)["status"].get("phase") == "Succeeded", timeout=180):
            described = self._control_plane.kubectl("describe", "pod", "trial", check=False).stdout
            raise ControlPlaneError(f"A pod that should end at once does not:\n{described[-2000:]}")
        self._control_plane.kubectl("delete", "pod", "trial", "--wait=false")

    def _is_ready(self) -> bool:
        if not self._control_plane.admin.exists(f"/api/v1/nodes/{ADDRESS}"):
            return False
        conditions = self._control_plane.admin.request("GET", f"/api/v1/nodes/{ADDRESS}")["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    # Shared

    def _run_part(self, name: str, options: list[str], is_ready: Check = lambda: True) -> None:
        self._serve(name, [self._program, name, *options], is_ready)

    def _serve(self, name: str, command: list[str | Path], is_ready: Check = lambda: True) -> None:
        program = shutil.which(command[0])
        assert program is not None, f"{command[0]} is missing, which harness.node.requirements has looked for"
        server = Server(name, [program, *command[1:]], log=self._directory / f"{name}.log", is_ready=is_ready)
        self._cleanup.callback(server.stop)
        server.start()

    def _config(self, name: str, document: dict[str, object]) -> str:
        file = self._directory / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document))
        return f"--config={file}"


_CONTAINERD = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
[grpc]
address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/containerd-opt"
"""

_ENDPOINTS = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "kubernetes"},
    },
    "addressType": "IPv4",
    "ports": [{"name": "https", "port": API_PORT}],
    "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
}
"""The API server's address for pods. It would publish it itself, but not an address on a loopback interface."""

_ASK = "import socket; socket.create_connection(('kubernetes.default', 443), 10)"
_TRIAL = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "trial", "namespace": "default"},
    "spec": {
        "restartPolicy": "OnFailure",
        "containers": [
            {
                "name": "trial",
                "image": images.BASE,
                "command": [
                    "python3",
                    "-c",
                    "import socket; socket.create_connection(('kubernetes.default', 443), 10)",
                ],
                "securityContext": {"runAsUser": 65532, "readOnlyRootFilesystem": True},
            }
        ],
    },
}


def _pod_network(leases: Path) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(leases),
    }
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipam": ipam}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet(directory: Path, runtime: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # only this network namespace can reach it
        "containerRuntimeEndpoint": f"unix://{runtime}",
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "podLogsDir": str(directory / "pod-logs"),
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        # Old kernels, containers and virtual machines differ in their control groups; the tests set no limits on pods.
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
    }


def _proxy(kubeconfig: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": ADDRESS,
        "bindAddress": ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "iptables",
        # Otherwise a pod's answer to another pod on the same bridge would bypass the address translation.
        "iptables": {"masqueradeAll": True},
        "conntrack": {"maxPerCore": 0, "min": None, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
