-- The health of a RetailPipeline for Argo CD, computed from the conditions of the operator. docs/how-to/gitops.md shows the
-- installation; dev/check-chart runs the script.
local function say(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local ready = conditions.Ready
if ready == nil then
  return say("Progressing", "the operator has not looked at it yet")
end
if status.observedGeneration ~= obj.metadata.generation then
  return say("Progressing", "the operator has not looked at the newest spec yet")
end
-- Stalled: the pipeline needs an action of the user, and the message describes it.
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  return say("Degraded", conditions.Stalled.message)
end
if ready.status ~= "True" then
  return say("Progressing", ready.message)
end
if ready.reason == "Suspended" then
  return say("Suspended", ready.message)
end
return say("Healthy", ready.message)
