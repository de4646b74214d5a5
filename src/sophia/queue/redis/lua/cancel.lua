-- Cancel what waits; ask the worker of what runs. ARGV: task id, reason.
local id, reason = ARGV[A], ARGV[A + 1]
local key = record_key(id)
local r = redis.call('HMGET', key, 's', 'n', 'r', 'p', 'e', 'l')
local state, tenant, route, prio = r[1], r[2], r[3], r[4]
if not state then return 0 end
local data = '{"reason":' .. cjson.encode(reason) .. '}'
if state == 'running' then
  redis.call('HSET', key, 'x', reason, 'u', now)
elseif state == 'queued' then
  local body = remove_waiting(id, route, prio, r[6] or tenant, r[5])
  finish(limits, id, tenant, 'cancelled', 'task.cancelled', data, {'b', body or ''})
  refill(limits, route, prio, limits.window)
elseif state == 'scheduled' or state == 'retrying' then
  redis.call('ZREM', DUE, id)
  count(state, route, prio, -1)
  finish(limits, id, tenant, 'cancelled', 'task.cancelled', data, {})
end
return 1
