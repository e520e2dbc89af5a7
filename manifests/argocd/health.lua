-- The health of a Harborhook resource of any kind, by its conditions. docs/gitops.md has the table.
-- Argo CD opens only the base library, tables, and os.date and os.time: there are no string functions here.

-- The health of a webhook policy while notifications are switched off for the whole Harbor: Healthy or Suspended.
-- Suspended blocks `argocd app wait` and later sync waves until an admin switches notifications on again.
local globally_disabled = "Healthy"

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready
local delivering = conditions.Delivering

-- Argo CD shows what is being deleted as Progressing without asking; this gives the reason where something asks.
if obj.metadata.deletionTimestamp ~= nil then
  if ready ~= nil and ready.status == "False" then
    return { status = "Progressing", message = "Being deleted: " .. (ready.message or "") }
  end
  return { status = "Progressing", message = "Being deleted." }
end

if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not seen this version yet." }
end

if conditions.Stalled ~= nil then
  return { status = "Degraded", message = ready.message }
end

if ready.reason == "Suspended" then
  return { status = "Suspended", message = ready.message }
end

-- Other reasons of Delivering are about receivers, and a failing receiver is not a fault of the deployment.
local off = delivering ~= nil and delivering.reason == "GloballyDisabled"
if off and (ready.status == "True" or globally_disabled == "Suspended") then
  return { status = globally_disabled, message = delivering.message }
end

if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
return { status = "Progressing", message = ready.message }
