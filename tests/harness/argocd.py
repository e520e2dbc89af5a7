"""Runs Lua scripts from Argo CD's ConfigMap in the environment that Argo CD gives them: Lua 5.1 with few libraries.

Argo CD's interpreter has the base library, `table`, and `date` and `time` of `os`. It has no `string` library, not even
as methods of a string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from lupa.lua51 import LuaError, LuaRuntime, lua_type  # type: ignore[import-untyped]

__all__ = ["ArgoCD", "LuaError", "ScriptError"]

Object = dict[str, Any]

HEALTH = ("Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown")

_SANDBOX = """
    local date, time = os.date, os.time
    local safe = {date = date, time = time}
    getmetatable("").__index = nil
    for name in pairs({io = 1, debug = 1, string = 1, math = 1, coroutine = 1, python = 1, module = 1}) do
      _G[name] = nil
    end
    _G.os = safe
    _G.require = function(name)
      if name == "os" then return safe end
      error("module " .. name .. " not found")
    end
"""


class ScriptError(Exception):
    """A script returned a value that Argo CD rejects."""


@dataclass(frozen=True)
class ArgoCD:
    """An Argo CD with this `data` in argocd-cm."""

    data: dict[str, str]

    def health(self, resource: Object) -> tuple[str, str]:
        """Returns status and message of a resource."""
        answer = self._run(self._entry("health", resource), resource)
        if not isinstance(answer, dict) or answer.get("status") not in HEALTH:
            raise ScriptError(f"no health: {answer}")
        return answer["status"], answer.get("message", "")

    def actions(self, resource: Object) -> dict[str, Object]:
        """Returns the actions that the resource's menu offers."""
        offered = self._run(self._actions(resource)["discovery.lua"], resource)
        return {name: action or {} for name, action in offered.items()}

    def act(self, resource: Object, name: str) -> Object:
        """Returns the resource as an action changes it; Argo CD sends the difference as a patch."""
        (definition,) = [one for one in self._actions(resource)["definitions"] if one["name"] == name]
        changed: Object = self._run(definition["action.lua"], resource)
        return changed

    def _actions(self, resource: Object) -> Object:
        parsed: Object = yaml.safe_load(self._entry("actions", resource))
        return parsed

    def _entry(self, purpose: str, resource: Object) -> str:
        group = resource["apiVersion"].partition("/")[0]
        return self.data[f"resource.customizations.{purpose}.{group}_{resource['kind']}"]

    def _run(self, script: str, resource: Object) -> Any:
        lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
        lua.execute(_SANDBOX)
        lua.globals().obj = lua.table_from(resource, recursive=True)
        return _from_lua(lua.execute(script))


def _from_lua(value: Any) -> Any:
    """Converts tables to objects, or to lists if their keys are 1, 2, ...; an empty table may be either."""
    if lua_type(value) != "table":
        return value
    pairs = {key: _from_lua(item) for key, item in value.items()}
    if pairs and set(pairs) == set(range(1, len(pairs) + 1)):
        return [pairs[index] for index in sorted(pairs)]
    return pairs
