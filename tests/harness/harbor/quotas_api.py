"""`/quotas`."""

from __future__ import annotations

from .core import Core
from .errors import bad_request, not_found
from .gojson import Model
from .http import Request, Response, Routes, ok, show, show_page
from .query import arrange, select
from .quota_rules import refusal
from .state import now

_UPDATE = Model("QuotaUpdateReq", {"hard": {str: int}})
_ROW_COST = 17.0


class QuotasApi:
    """Quotas, for callers with system rights."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        routes.add("GET", "/quotas", self.list)
        routes.add("GET", "/quotas/{id}", self.get)
        routes.add("PUT", "/quotas/{id}", self.put)

    async def list(self, request: Request) -> Response:
        """Newest first; `reference` and `reference_id` filter."""
        request.query.check_page()
        self._core.require_system(request.principal, "quota", "list")
        reference = request.query.get("reference")
        wanted = request.query.get("reference_id")
        rows = [
            quota
            for quota in self._core.state.table("quotas").values()
            if reference in (None, "", "project") and wanted in (None, "", str(quota["ref"]["id"]))
        ]
        rows = select(rows, request.query.filters(), ("id",))
        keys = ("id", "creation_time", "update_time")
        rows = arrange(rows, request.query.get("sort"), keys, lambda quota: -quota["id"])
        page = request.query.page(rows)
        await self._core.spend(_ROW_COST * len(page.rows))
        return show_page(page)

    def get(self, request: Request) -> Response:
        """One quota by its own id, which is not the project's."""
        key = request.integer("id")
        self._core.require_system(request.principal, "quota", "read")
        return show(self._quota(key))

    def put(self, request: Request) -> Response:
        """Sets the hard limit, which may be below the usage."""
        key = request.integer("id")
        values = request.decode("hard", _UPDATE)
        self._core.require_system(request.principal, "quota", "update")
        quota = self._quota(key)
        hard = values.get("hard") or {}
        if not hard:
            raise bad_request("hard required in body")
        for name in sorted(hard):
            if name != "storage":
                raise bad_request(f"resource {name} not support")
        reason = refusal(hard["storage"])
        if reason:
            raise bad_request(reason)
        changed = {**quota, "hard": {"storage": hard["storage"]}, "update_time": now()}
        self._core.state.put("quotas", key, changed)
        return ok()

    def _quota(self, key: int) -> dict[str, object]:
        quota = self._core.state.table("quotas").get(key)
        if quota is None:
            raise not_found(f"quota {key} not found")
        return dict(quota)
