from __future__ import annotations
import time
from pathlib import Path
import yaml, subprocess
from harness.control_plane import ControlPlane
from harness.node.cluster import Node
REPOSITORY = Path(__file__).parents[2]

def test_x(cluster: ControlPlane, node: Node) -> None:
    print(cluster.kubectl("get","nodes","-o","wide").stdout)
    cluster.apply(REPOSITORY/"manifests/base")
    print(cluster.kubectl("-n","harborhook","set","image","deploy/harborhook","harborhook=harborhook:one").stdout)
    for i in range(30):
        time.sleep(2)
        o=cluster.kubectl("get","pods","-A","-o","wide").stdout
        if "1/1" in o: break
    print(o)
    print(cluster.kubectl("describe","pods","-A").stdout)
    print(cluster.kubectl("logs","-n","harborhook","deploy/harborhook",check=False))
    print(subprocess.run("ip a; tail -20 %s/*.log; ls %s" % (node._directory,node._directory),shell=True,capture_output=True,text=True).stdout)
    assert 0
