"""The recordings of Harbor 2.7 as scenarios; only the stand-in plays them."""

from __future__ import annotations

from functools import partial
from typing import Any

from contract.player import Action, Actor, Jar, Player
from contract.scenarios import Scenario
from harness.push import pull_artifact, push_artifact

_THREE = ["PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"]
_ADDRESSES = {
    "e500": "http://127.0.0.1:17900/status/500",
    "flaky": "http://127.0.0.1:17900/fail-times/1/a",
    "flaky2": "http://127.0.0.1:17900/fail-times/2/b",
    "closed": "http://127.0.0.1:17998/x",
    "redirect": "http://127.0.0.1:17900/redirect",
    "e404": "http://127.0.0.1:17900/status/404",
    "s204": "http://127.0.0.1:17900/status/204",
    "nosch": "127.0.0.1:17900/nosch",
    "nohost": "http://nohost.invalid/x",
}
_BETWEEN_OK_AND_TWO = ("e500", "flaky", "flaky2", "closed", "slow")
_BEHIND_SLACK = ("redirect", "e404", "s204", "qs", "nosch", "deld", "slackbad", "nohost")
_OTHER_DELIVERIES = "2832 2834 2835 2844 2879 2927 2928 2944 2973 2974 2984 2990 2993 3039 3040 3066"
"""Answers that show the results of other deliveries."""
_TIES = "2827 3023 3034 3037 3064"
"""Two policies without a creation time, in either order; and a filter on ids that are others here."""


def _settings(**values: Any) -> Action:
    def act(player: Player) -> None:
        player.stand_in.settings(**values)

    return act


def _dlv_policies(first: int, names: tuple[str, ...]) -> Action:
    """The policies of dlv that were made without being recorded."""

    def act(player: Player) -> None:
        for at, name in enumerate(names):
            address = _ADDRESSES.get(name, f"http://127.0.0.1:17900/{name}")
            target = {"type": "http", "address": address, "auth_header": f"Bearer T0ken-{name}"}
            player.policy("dlv", first + at, name=name, event_types=_THREE, targets=[target])

    return act


def _disabled_policy(player: Player) -> None:
    target = {"type": "http", "address": "http://127.0.0.1:17900/disabled"}
    player.policy("dlv", 519, name="disabled", enabled=False, targets=[target])


def _push(player: Player) -> None:
    push_artifact(player.harbor.url, *player.harbor.auth, "dlv/app", "v1")


def _push_again(player: Player) -> None:
    push_artifact(player.harbor.url, *player.harbor.auth, "dlv/app", "v2", content=b"again")


def _pull(player: Player) -> None:
    pull_artifact(player.harbor.url, *player.harbor.auth, "dlv/app", "v1")


def _receiver(player: Player) -> None:
    player.mapping.bind_address("127.0.0.1:17900", player.receiver())


def _finished(*names: str) -> Action:
    """Wait until the jobs of these policies say so."""

    def act(player: Player) -> None:
        for policy in player.ask("GET", "/projects/dlv/webhook/policies?page_size=0").json():
            if policy["name"] in names:
                path = f"/projects/dlv/webhook/jobs?policy_id={policy['id']}"
                player.until(partial(_all_finished, player, path))

    return act


def _all_finished(player: Player, path: str) -> bool:
    return all(job["status"] == "finished" for job in player.ask("GET", path).json())


def _event_without_jobservice(player: Player) -> None:
    player.stand_in.settings(jobservice="stopped")
    player.stand_in.happen("PUSH_ARTIFACT", "dlv")


def _filler(name: str, recorded: int) -> Action:
    def act(player: Player) -> None:
        player.policy("dlv", recorded, name=name, event_types=_THREE)

    return act


def _browser(player: Player) -> None:
    jar = Jar(writes_with_token=False)
    for who in ("anonymous", "admin by session", "session ended"):
        player.actors[who] = Actor(jar=jar)
    player.actors["admin"] = Actor(player.harbor.auth, jar)
    player.actors["admin (wrong password)"] = Actor((player.harbor.username, "Wrong12345"), jar)


def _log_out(player: Player) -> None:
    jar = player.actors["anonymous"].jar
    assert jar is not None
    jar.keeps = False


def _outside_the_jar(player: Player) -> None:
    player.actors["admin"] = Actor(player.harbor.auth, Jar(keeps=False))


def _back_in_the_jar(player: Player) -> None:
    player.actors["admin"] = Actor(player.harbor.auth, player.actors["anonymous"].jar)


def _with_a_sid(player: Player) -> None:
    """Basic credentials together with the `sid` of an earlier answer."""
    jar = Jar(keeps=True)
    player.handshake(jar)
    player.actors["admin"] = Actor(player.harbor.auth, Jar({"sid": jar.cookies["sid"]}, keeps=False))


def _no_jar(player: Player) -> None:
    player.actors["anonymous"] = Actor()
    player.actors["admin"] = player.admin


def _robot_labels(player: Player) -> None:
    """The recordings name some robots after their permissions."""
    for word in ("empty", "dot", "self"):
        label = {"empty": "", "dot": ".", "self": "self"}[word]
        _alias(player, f'robot with resource "{label}" read,update,delete on *', f"self-{word}")


def _more_robot_labels(player: Player) -> None:
    _alias(player, "robot projstar (project:* on *)", "projstar")
    _alias(player, "robot npone (policies of dlv only)", "npone")
    _alias(player, "robot with only notification-policy:list", "nplist")
    _alias(player, "robot with only notification-policy:read", "npread")
    _alias(player, "project-level robot", "plev")
    full = player.actors["robot full"].auth
    assert full is not None
    player.actors["robot, wrong secret"] = Actor((full[0], "wrong"))


def _alias(player: Player, label: str, name: str) -> None:
    actor = player.actors.get(f"robot {name}")
    if actor is not None:
        player.actors[label] = actor


def _users(player: Player) -> None:
    for name, role in (("pa", 1), ("dev", 2), ("guest", 3), ("maint", 4), ("nobody", 0)):
        user = player.user(name, 0, f"user {name}")
        if role:
            player.ask("POST", "/projects/dlv/members", {"role_id": role, "member_user": {"user_id": user}})


def _race(player: Player) -> None:
    player.project("race", 17)
    target = {"type": "http", "address": "http://127.0.0.1:17900/u"}
    names = ("Case", "case", " sp ", "é", "n" * 256, "a,b", "a[b")
    for at, name in enumerate(names):
        player.policy("race", 543 + at, name=name, enabled=False, targets=[target])


def _session_admin(player: Player) -> None:
    jar = player.login()
    player.actors["admin by session"] = Actor(jar=jar)
    robot = player.actors["robot np"].auth
    player.actors["robot np"] = Actor(robot, jar)


def _robot_without_session(player: Player) -> None:
    player.actors["robot np"] = Actor(player.actors["robot np"].auth)


FIRST_PASS = Scenario(
    "Harbor 2.7",
    "2.7",
    [
        _receiver,
        _settings(chartmuseum="down"),
        "2701-2733",
        _settings(chartmuseum="off"),
        "2734-2810",
        _dlv_policies(503, _BETWEEN_OK_AND_TWO),
        "2811",
        _filler("twomixed", 509),
        "2812",
        _dlv_policies(511, _BEHIND_SLACK),
        _disabled_policy,
        _push,
        _finished("ok", "two", "slack"),
        "2813-2814 2816-2839",
        "2840-2844",
        _browser,
        "2845-2847",
        _outside_the_jar,
        "2848",
        _back_in_the_jar,
        "2849-2855",
        _with_a_sid,
        "2856",
        _back_in_the_jar,
        _log_out,
        "2857-2860",
        _no_jar,
        "2861-2891",
        _robot_labels,
        "2892-2895",
        _robot_labels,
        "2896-2899",
        _robot_labels,
        "2900-2909",
        _more_robot_labels,
        "2910-3008",
        "3011",
        _push_again,
        _finished("ok", "dup"),
        "3012-3015 3017-3019",
        _pull,
        "3020-3022",
        _finished("ok"),
        "3023-3024",
        "3025-3032",
        _event_without_jobservice,
        "3033-3035",
        _settings(jobservice="running"),
        "3036",
        _users,
        "3037-3115",
        "3117-3123 3126",
        _race,
        "3128-3138",
        _session_admin,
        "3140",
        _robot_without_session,
        _settings(redis="down"),
        "3141-3146",
        _settings(redis="up", core="down"),
        "3147",
        _settings(core="up"),
    ],
    loose=dict.fromkeys(_OTHER_DELIVERIES.split(), "total body") | dict.fromkeys(_TIES.split(), "total"),
    attempts=3,
    stand_in_only=True,
)

SCENARIOS = [FIRST_PASS]
