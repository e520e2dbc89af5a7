"""The recordings of Harbor 2.16 as scenarios."""

from __future__ import annotations

import secrets
from typing import Any

from contract.player import Action, Actor, Jar, Player
from contract.scenarios import Scenario
from harness.push import push_artifact

_NOTIFICATION = ("create", "read", "update", "delete", "list")
_EVERYTHING = [
    {
        "kind": "system",
        "namespace": "/",
        "access": [
            {"resource": resource, "action": action}
            for resource, action in (
                ("project", "create"),
                ("project", "list"),
                ("quota", "list"),
                ("quota", "read"),
                ("quota", "update"),
            )
        ],
    },
    {
        "kind": "project",
        "namespace": "*",
        "access": [
            {"resource": resource, "action": action}
            for resource, actions in (
                ("project", ("read", "update", "delete")),
                ("metadata", ("read", "create", "update")),
                ("quota", ("read",)),
                ("notification-policy", _NOTIFICATION),
            )
            for action in actions
        ],
    },
]


def _grant(namespace: str, resource: str, *actions: str, kind: str = "project") -> dict[str, Any]:
    access = [{"resource": resource, "action": action} for action in actions]
    return {"kind": kind, "namespace": namespace, "access": access}


def _configure(**values: Any) -> Action:
    def act(player: Player) -> None:
        player.ask("PUT", "/configurations", values)

    return act


def _settings(**values: Any) -> Action:
    def act(player: Player) -> None:
        player.stand_in.settings(**values)

    return act


def _people(player: Player) -> None:
    for name in ("bob", "carol", "dave"):
        player.actors[name] = Actor((player.mapping.new_name(name), "Passw0rd1"))


def _ids_of_beta(player: Player) -> None:
    """Its Location had the name."""
    project = player.ask("GET", f"/projects/{player.mapping.name('beta')}").json()["project_id"]
    (quota,) = player.ask("GET", f"/quotas?reference=project&reference_id={project}").json()
    player.mapping.bind_id("project", 3, project)
    player.mapping.bind_id("quota", 3, quota["id"])


def _role(role: int) -> Action:
    """bob, a member of alpha, gets another role."""

    def act(player: Player) -> None:
        member = player.mapping.bound("member", 13)
        player.ask("PUT", f"/projects/{player.mapping.name('alpha')}/members/{member}", {"role_id": role})

    return act


def _delete_policies(project: str, but: str = "") -> Action:
    def act(player: Player) -> None:
        path = f"/projects/{player.mapping.name(project)}/webhook/policies"
        for policy in player.ask("GET", f"{path}?page_size=0").json():
            if policy.get("name") != but:
                player.ask("DELETE", f"{path}/{policy['id']}")

    return act


def _delete_project(name: str) -> Action:
    def act(player: Player) -> None:
        player.ask("DELETE", f"/projects/{player.mapping.name(name)}")

    return act


def _named_like_id(recorded: int) -> Action:
    """The project that is named by the number which is another one's id."""

    def act(player: Player) -> None:
        player.mapping.bind_name(str(recorded), str(player.mapping.bound("project", recorded)))

    return act


def _free_policy_id(player: Player) -> None:
    """A policy is made with an id of the client's choice, which another one may have on a Harbor with a past."""
    if player.harbor.is_real:
        player.mapping.bind_id("policy", 4242, 2_000_000_000 + secrets.randbelow(10**8))


def _free_number(player: Player) -> None:
    if player.harbor.is_real:
        player.mapping.bind_name("777", "777000777")
        player.mapping.bind_id("project", 777, 777000777)


def _with_all_events(player: Player) -> None:
    player.project("ev", 19)
    types = ["PUSH", "PULL", "DELETE"]
    events = [f"{kind}_ARTIFACT" for kind in types]
    events += ["QUOTA_EXCEED", "QUOTA_WARNING", "TAG_RETENTION", "REPLICATION", "SCANNING_FAILED"]
    target = {"type": "http", "address": "http://127.0.0.1:19000/ev"}
    player.policy("ev", 4281, name="all", event_types=events, targets=[target])


def _round_trip(player: Player) -> None:
    player.project("ev2", 26)
    target = {"type": "http", "address": "http://127.0.0.1:19000/rt", "auth_header": "tok"}
    player.policy("ev2", 4289, name="rt", enabled=False, targets=[target])


def _newer(player: Player) -> None:
    target = {"type": "http", "address": "http://127.0.0.1:19000/n"}
    player.policy("ev2", 4290, name="newer", enabled=False, targets=[target])


def _ev4(player: Player) -> None:
    player.project("ev4", 30)


FIRST_PASS = Scenario(
    "projects and policies",
    "2.16",
    [
        _people,
        "0001-0020",
        _ids_of_beta,
        _free_policy_id,
        "0021-0175",
        _delete_policies("alpha", but="p1"),
        "0176-0210",
        _role(5),
        "0211-0215",
        _role(2),
        "0216-0220",
        _role(4),
        _delete_policies("alpha", but="p1"),
        "0221-0225",
        _role(1),
        "0226-0231",
        _named_like_id(2),
        "0232-0245",
        _free_number,
        "0246-0252",
        _delete_policies("alpha"),
        "0253-0290",
        "0342",
        "0345-0354",
        _with_all_events,
        "0364 0365 0367 0368 0370 0372",
        _round_trip,
        "0385-0387",
        _newer,
        "0388-0405",
        "0412-0427",
        _ev4,
        "0438-0439",
        "0447",
        _named_like_id(32),
        "0448-0480",
    ],
    loose={
        "0013": "body",  # auth_mode is fixed once there are users
        "0289": "body",  # there were images in it
        "0342": "cookies",
        "0396": "total",
        "0416": "total",
        "0459": "total",
        "0460": "total",
        "0461": "total",
        "0464": "body",  # there were images in it
        "0475": "body",
    },
)


def _with_events_only(player: Player) -> None:
    _people(player)
    player.user("bob", 3)
    _with_all_events(player)
    _round_trip(player)


GLOBAL_SETTINGS = Scenario(
    "the system's settings",
    "2.16",
    [
        _with_events_only,
        "0372-0384",
        _configure(read_only=True),
        "0428-0430",
        _configure(read_only=False),
        _configure(project_creation_restriction="adminonly"),
        "0431",
        _configure(project_creation_restriction="everyone"),
        _settings(core="down"),
        "0442-0443",
        _settings(core="up"),
    ],
    loose={"0380": "body"},
    stand_in_only=True,
)


def _browser(player: Player) -> None:
    """One jar, shared by all callers of the recorded login."""
    jar = Jar(writes_with_token=False)
    name, password = player.harbor.auth
    for who in ("anonymous", "admin by session", "session ended", "-"):
        player.actors[who] = Actor(jar=jar)
    player.actors["admin"] = Actor((name, password), jar)
    player.actors["admin (wrong password)"] = Actor((name, "Wrong12345"), jar)


def _empty_jar(player: Player) -> None:
    jar = player.actors["anonymous"].jar
    assert jar is not None
    jar.cookies.clear()


def _fresh_handshake(player: Player) -> None:
    jar = player.actors["anonymous"].jar
    assert jar is not None
    jar.cookies.clear()
    player.handshake(jar)
    player.robot("robot basic", "op", _EVERYTHING)
    player.actors["robot"] = Actor(player.actors["robot basic"].auth, jar)


def _session_again(player: Player) -> None:
    player.actors["admin basic"] = Actor(player.harbor.auth)
    player.actors["-"] = Actor(jar=player.login())


SESSIONS = Scenario(
    "a session",
    "2.16",
    [_browser, "0601-0608", _empty_jar, "0609", _fresh_handshake, "0610-0611", _session_again, "0612-0614"],
    loose={"0613": "total"},
)


def _dead_session(player: Player) -> None:
    player.project("sess1", 628)
    jar = player.login()
    player.logout(jar)
    player.actors["dead session"] = Actor(jar=jar)


DEAD_SESSION = Scenario("a session that is over", "2.16", [_dead_session, "0701-0708"])


def _robots(player: Player) -> None:
    player.project("dlv", 627)
    player.project("sess1", 628)
    target = {"type": "http", "address": "http://127.0.0.1:19000/q"}
    player.policy("sess1", 532, name="q", enabled=False, targets=[target])
    dlv = player.mapping.name("dlv")
    player.robot("robot full", "full", _EVERYTHING)
    player.robot(
        "robot nol",
        "nol",
        [_grant("*", "project", "read"), _grant("*", "notification-policy", "list", "read")],
    )
    own = [
        *_grant(dlv, "project", "read", "update")["access"],
        *_grant(dlv, "metadata", "create", "read", "update", "delete")["access"],
        *_grant(dlv, "quota", "read")["access"],
        *_grant(dlv, "notification-policy", *_NOTIFICATION)["access"],
    ]
    player.robot("robot plev", "plev", [{"kind": "project", "namespace": dlv, "access": own}], "project")
    player.robot("robot lim", "lim", [_grant("*", "notification-policy", "list", "read")])
    player.robot(
        "robot with project read,update,delete on *", "prud", [_grant("*", "project", "read", "update", "delete")]
    )
    player.robot("robot create only", "creator", [_grant("/", "project", "create", kind="system")])
    disabled = player.robot("disabled robot", "off", _EVERYTHING)
    robot = player.ask("GET", f"/robots/{disabled}").json()
    player.ask("PUT", f"/robots/{disabled}", {**robot, "disable": True})
    full = player.actors["robot full"].auth
    assert full is not None
    player.actors["robot, wrong secret"] = Actor((full[0], "wrong"))


def _private_again(player: Player) -> None:
    player.ask("PUT", f"/projects/{player.mapping.name('sess1')}", {"metadata": {"public": "false"}})


ROBOTS = Scenario(
    "robots",
    "2.16",
    [_robots, "0709-0720", _private_again, "0721-0729", "1090-1094"],
    loose={"0725": "total", "0727": "total"},
)


def _project_admin(player: Player) -> None:
    player.project("dlv", 627)
    player.project("privproj", 630)
    name = player.mapping.name("privproj")
    allowlist = {"items": [{"cve_id": "CVE-2024-1234"}], "expires_at": 1900000000}
    player.ask("PUT", f"/projects/{name}", {"metadata": {"auto_scan": "true"}, "cve_allowlist": allowlist})
    pa = player.user("pa", 3)
    player.user("own", 4)
    nobody = player.user("nobody", 5)
    player.ask("POST", f"/projects/{name}/members", {"role_id": 1, "member_user": {"user_id": pa}})
    for who in ("pa", "own", "nobody"):
        player.actors[f"user {who} by session"] = Actor(jar=player.login(player.actors[who].auth))
    player.ask("DELETE", f"/users/{nobody}")


def _project_robot(player: Player) -> None:
    grant = _grant(player.mapping.name("privproj"), "notification-policy", *_NOTIFICATION)
    player.robot("project-level robot", "viarobot", [grant], "project")


PROJECT_ADMIN = Scenario(
    "an administrator of one project",
    "2.16",
    [_project_admin, "0730-0762", _project_robot, "0763-0765"],
    loose={"0731": "total", "0760": "total"},
)


def _session_admin(player: Player) -> None:
    player.actors["admin by session"] = Actor(jar=player.login())


def _quota_project(player: Player) -> None:
    _session_admin(player)
    project = player.project("qt", 634)
    quota = player.ask("GET", f"/quotas?reference=project&reference_id={project}").json()[0]
    player.mapping.bind_id("quota", 632, quota["id"])


def _known_allowlist(player: Player) -> None:
    values = {"metadata": {"reuse_sys_cve_allowlist": "true"}, "cve_allowlist": {"items": [{"cve_id": "CVE-2020-1"}]}}
    player.ask("PUT", f"/projects/{player.mapping.name('qt')}", values)


def _odd_metadata(player: Player) -> None:
    values = {
        "auto_sbom_generation": "0",
        "auto_scan": "false",
        "enable_content_trust_cosign": "0",
        "prevent_vul": "0",
        "public": "0",
        "reuse_sys_cve_allowlist": "false",
    }
    player.ask("PUT", f"/projects/{player.mapping.name('qt')}", {"metadata": values})


QUOTA_AND_METADATA = Scenario(
    "quotas, allowlists and metadata",
    "2.16",
    [
        _quota_project,
        "0766-0805",
        _known_allowlist,
        "0806-0826",
        _delete_project("badm"),
        "0827",
        _delete_project("badm"),
        "0828",
        _delete_project("badm"),
        "0829",
        _odd_metadata,
        "0830-0837",
        "1073",
    ],
)


def _proxy(player: Player) -> None:
    _session_admin(player)
    player.project("qt", 634)
    player.robot("robot full", "full", _EVERYTHING)
    player.robot("robot without registry right", "full2", _EVERYTHING)
    player.user("own", 4)
    player.actors["user own"] = Actor(jar=player.login(player.actors["own"].auth))


PROXY_CACHE = Scenario(
    "proxy caches",
    "2.16",
    [
        _proxy,
        "0838-0851",
        _delete_project("pxb"),
        "0852-0853",
        _delete_project("pxb"),
        "0854-0859",
        _delete_project("pxb"),
        "0860-0866",
    ],
    loose={"0842": ""},
    whole_harbor=True,
)


def _policies(player: Player) -> None:
    _session_admin(player)
    player.project("pol", 661)


def _put_me(player: Player) -> None:
    targets = [
        {
            "type": "http",
            "address": "http://127.0.0.1:19000/p",
            "auth_header": "Bearer tok",
            "payload_format": "CloudEvents",
            "skip_cert_verify": True,
        },
        {"type": "slack", "address": "http://127.0.0.1:19000/s"},
    ]
    events = ["PUSH_ARTIFACT", "PULL_ARTIFACT"]
    player.policy("pol", 622, name="putme", description="D", event_types=events, targets=targets)


def _numbered_policy(player: Player) -> None:
    player.project("al", 764)
    target = {"type": "http", "address": "http://127.0.0.1:19000/n123"}
    player.policy("al", 675, name="123", enabled=False, targets=[target])


POLICY_VALUES = Scenario(
    "names, addresses and headers of policies",
    "2.16",
    [_policies, "0867-0985", _put_me, "1070-1072", _numbered_policy, "1143"],
)


def _more_settings(player: Player) -> None:
    _session_admin(player)
    player.user("bob", 3)
    player.project("qt", 634)
    project = player.project("al", 764)
    quota = player.ask("GET", f"/quotas?reference=project&reference_id={project}").json()[0]
    player.mapping.bind_id("quota", 665, quota["id"])
    metadata = {"auto_scan": "true", "reuse_sys_cve_allowlist": "false"}
    allowlist = {"items": [], "expires_at": 1900000001}
    player.ask("PUT", f"/projects/{player.mapping.name('al')}", {"metadata": metadata, "cve_allowlist": allowlist})
    player.robot("robot full", "full", _EVERYTHING)


SETTINGS_BY_SESSION = Scenario(
    "more of the system's settings",
    "2.16",
    [
        _more_settings,
        "1074-1076",
        _configure(quota_per_project_enable=False),
        "1077-1080",
        _configure(quota_per_project_enable=True),
        "1081-1082",
        _configure(project_creation_restriction="adminonly"),
        "1083",
        _configure(project_creation_restriction="everyone", read_only=True),
        "1084-1089",
    ],
    whole_harbor=True,
)


def _expired(player: Player) -> None:
    player.project("pub1", 654, metadata={"public": "true"})
    player.project("qt", 634)
    jar = player.login()
    player.stand_in.expire_sessions()
    jar.keeps = True
    player.actors["admin by session"] = Actor(jar=jar)


def _lost_csrf_cookie(player: Player) -> None:
    jar = player.actors["admin by session"].jar
    assert jar is not None
    del jar.cookies["_gorilla_csrf"]
    jar.keeps = True


def _core_restarts(player: Player) -> None:
    player.stand_in.kill()
    player.stand_in.restart()


EXPIRED_SESSION = Scenario(
    "a session that expires",
    "2.16",
    [
        _expired,
        "1095-1101",
        _session_admin,
        "1102",
        _lost_csrf_cookie,
        "1106-1107",
        _core_restarts,
        "1108-1110",
    ],
    stand_in_only=True,
)


def _before_the_fall(player: Player) -> None:
    player.project("pub1", 654, metadata={"public": "true"})
    player.project("qt", 634)
    metadata = {
        "auto_sbom_generation": "0",
        "enable_content_trust": "true",
        "enable_content_trust_cosign": "0",
        "prevent_vul": "0",
        "proxy_cache_local_on_not_found": "true",
        "proxy_referrer_api": "true",
        "reuse_sys_cve_allowlist": "false",
        "severity": "low",
    }
    allowlist = {"items": [{"cve_id": "CVE-2020-1"}]}
    player.ask("PUT", f"/projects/{player.mapping.name('qt')}", {"metadata": metadata, "cve_allowlist": allowlist})
    player.robot("robot full", "full", _EVERYTHING)
    _session_admin(player)


BROKEN_PARTS = Scenario(
    "Redis or the database down",
    "2.16",
    [
        _before_the_fall,
        _settings(redis="down"),
        "1111-1126",
        _settings(redis="up", database="down"),
        "1127-1142",
        _settings(database="up"),
    ],
    loose={"1120": "total", "1133": "body", "1141": "body"},  # /health is stale for seconds
    stand_in_only=True,
)


def _images(player: Player) -> None:
    player.project("alpha", 2)
    player.project("ev", 19)
    for repository, tags in (("alpha/app", "v1"), ("ev/app", "v1 v2 v3")):
        project, _, name = repository.partition("/")
        for tag in tags.split():
            target = f"{player.mapping.name(project)}/{name}"
            push_artifact(player.harbor.url, *player.harbor.auth, target, tag, content=tag.encode())


def _no_images(player: Player) -> None:
    player.ask("DELETE", f"/projects/{player.mapping.name('alpha')}/repositories/app")


IMAGES = Scenario("a project with images", "2.16", [_images, "0343-0344", "0355-0357", _no_images])


def _receiver(player: Player) -> None:
    host = player.receiver()
    player.mapping.bind_address("127.0.0.1:19000", host)
    player.mapping.bind_address("127.0.0.1:19000/flaky/k1/1", f"{host}/fail-times/1/k1")


def _executions(player: Player, project: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path = f"/projects/{player.mapping.name(project)}/webhook/policies"
    for policy in player.ask("GET", f"{path}?page_size=0").json():
        executions = f"{path}/{policy['id']}/executions"
        for execution in player.ask("GET", f"{executions}?page_size=0").json():
            found += player.ask("GET", f"{executions}/{execution['id']}/tasks").json()
            found.append(execution)
    return found


def _delivered(project: str) -> Action:
    """Push, and wait until every attempt has been made."""

    def act(player: Player) -> None:
        push_artifact(player.harbor.url, *player.harbor.auth, f"{player.mapping.name(project)}/app", "v1")
        player.until(lambda: all(map(_settled, _executions(player, project))))

    return act


def _settled(row: dict[str, Any]) -> bool:
    if row["status"] == "Error":
        return bool(row.get("run_count", 3) == 3)
    return bool(row["status"] == "Success")


def _delivery_project(player: Player) -> None:
    _receiver(player)
    player.project("alpha", 2)


def _demo_project(player: Player) -> None:
    _receiver(player)


def _the_failed_one(player: Player) -> None:
    """Two executions of the same second have no fixed order; the recording continues with the failed one."""
    project = player.mapping.name("alpha")
    path = f"/projects/{project}/webhook/policies/{player.mapping.bound('policy', 4256)}/executions"
    (failed,) = player.ask("GET", f"{path}?q=status=Error").json()
    (task,) = player.ask("GET", f"{path}/{failed['id']}/tasks").json()
    player.mapping.bind_id("execution", 19, failed["id"])
    player.mapping.bind_id("task", 19, task["id"])


DELIVERIES = Scenario(
    "deliveries",
    "2.16",
    [_delivery_project, "0253-0268", "0269-0270", _delivered("alpha"), "0291-0300", _the_failed_one, "0301-0337"],
    loose={"0300": "total"} | dict.fromkeys(("0301", "0304", "0307", "0319", "0328"), "run_count"),
    attempts=3,
    whole_harbor=True,
    has_deliveries=True,
)

DEMO = Scenario(
    "deliveries in all formats",
    "2.16",
    [_demo_project, "0476-0481", _delivered("demo"), "0482-0494"],
    loose={"0483": "run_count"},
    attempts=3,
    whole_harbor=True,
    has_deliveries=True,
)


def _without_jobservice(player: Player) -> None:
    _receiver(player)
    player.project("ev4", 30)
    target = {"type": "http", "address": "http://127.0.0.1:19000/jsdown"}
    player.policy("ev4", 4305, name="jsdown", targets=[target])
    player.stand_in.settings(jobservice="stopped")
    player.stand_in.happen("PUSH_ARTIFACT", "ev4")


JOBSERVICE_STOPPED = Scenario(
    "jobservice stopped",
    "2.16",
    [_without_jobservice, "0435-0441", _settings(jobservice="running"), "0444-0446"],
    loose={"0435": "body"},  # /health is stale for seconds
    stand_in_only=True,
)


def _many_deliveries(player: Player) -> None:
    _receiver(player)
    _session_admin(player)
    player.project("dlv", 627)
    player.project("sess1", 628)
    base = "http://127.0.0.1:19000"
    failing = {"type": "http", "address": f"{base}/status/500"}
    slack = {"type": "slack", "address": f"{base}/status/500"}
    events = ["PUSH_ARTIFACT"]
    player.policy("dlv", 505, name="e500", event_types=events, targets=[failing])
    player.policy("dlv", 508, name="timeout", event_types=events, targets=[{**failing, "address": f"{base}/slow/5"}])
    player.policy("dlv", 529, name="slack500", event_types=events, targets=[slack])
    formats = {"type": "http", "address": f"{base}/ok", "payload_format": "CloudEvents"}
    targets = [failing, {**slack, "address": f"{base}/slack"}, formats]
    player.policy("dlv", 531, name="mixed", event_types=events, targets=targets)


def _a_foreign_execution(player: Player) -> None:
    policy = player.mapping.bound("policy", 531)
    path = f"/projects/{player.mapping.name('dlv')}/webhook/policies/{policy}/executions"
    execution = player.ask("GET", f"{path}?q=status=Success").json()[0]
    player.mapping.bind_id("execution", 157, execution["id"])


MORE_DELIVERIES = Scenario(
    "more deliveries",
    "2.16",
    [
        _many_deliveries,
        _delivered("dlv"),
        "0986-0988 0991-0993 1016-1018",
        "1020 1033-1037 1041 1051-1055",
        _a_foreign_execution,
        "1065-1069",
    ],
    loose={
        "0988": "",
        "1020": "total",
        "1033": "vendor_type total",
        "1034": "total",
        "1037": "total",
        "1041": "total",
        "1051": "",
    },
    attempts=3,
    whole_harbor=True,
    has_deliveries=True,
)


def _seven_events(player: Player) -> None:
    _people(player)
    player.user("carol", 4)
    _receiver(player)
    player.project("ev", 19)
    target = {"type": "http", "address": "http://127.0.0.1:19000/ev"}
    events = ["PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"]
    player.policy("ev", 4281, name="all", event_types=events, targets=[target])
    for event in ["PUSH_ARTIFACT"] * 4 + ["PULL_ARTIFACT"] + ["DELETE_ARTIFACT"] * 2:
        player.stand_in.happen(event, "ev")
    player.until(lambda: all(map(_settled, _executions(player, "ev"))))


EXECUTION_LISTS = Scenario(
    "lists of executions",
    "2.16",
    [_seven_events, "0358-0371"],
    loose=dict.fromkeys(("0358", "0359", "0360", "0362", "0369"), "status metrics end_time event_type update_time")
    | {"0363": "total", "0369": "status update_time"},
    attempts=3,
    stand_in_only=True,
)

SCENARIOS = [
    FIRST_PASS,
    EXECUTION_LISTS,
    DELIVERIES,
    DEMO,
    JOBSERVICE_STOPPED,
    MORE_DELIVERIES,
    IMAGES,
    GLOBAL_SETTINGS,
    SESSIONS,
    DEAD_SESSION,
    ROBOTS,
    PROJECT_ADMIN,
    QUOTA_AND_METADATA,
    PROXY_CACHE,
    POLICY_VALUES,
    SETTINGS_BY_SESSION,
    EXPIRED_SESSION,
    BROKEN_PARTS,
]
