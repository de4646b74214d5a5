-- Shared by every script of the queue. All keys of a partition carry the same hash tag, so a script touches one slot.
-- KEYS[1] is the partition's prefix, e.g. "sophia:{0}". Time is the server's own: workers' clocks may drift.
local P = KEYS[1] .. ':'
local GROUP = 'workers'
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function record_key(id) return P .. 't:' .. id end
local function stream_key(route, prio) return P .. 'stream:' .. route .. ':' .. prio end
local function ring_key(route, prio) return P .. 'ring:' .. route .. ':' .. prio end
local function backlog_key(route, prio, tenant) return P .. 'backlog:' .. route .. ':' .. prio .. ':' .. tenant end
local COUNT, TURN = P .. 'count', P .. 'turn'
local DUE, LEASES, STARTBY, DEAD = P .. 'due', P .. 'leases', P .. 'startby', P .. 'dead'
local EVENTS, CHANGES = P .. 'events', P .. 'changes'

local function count(kind, route, prio, by)
  redis.call('HINCRBY', COUNT, kind .. ':' .. route .. ':' .. prio, by)
end

local function counted(kind, route, prio)
  return tonumber(redis.call('HGET', COUNT, kind .. ':' .. route .. ':' .. prio) or '0')
end

local function inflight(tenant, by)
  local left = redis.call('HINCRBY', COUNT, 'in:' .. tenant, by)
  if left <= 0 then redis.call('HDEL', COUNT, 'in:' .. tenant) end
end

-- The platform's log. A task's own log is written beside it, except its first event, which the record already tells.
local function publish(events_max, kind, id, tenant, seq, data)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', events_max, '*',
    'k', kind, 's', id, 'n', tenant, 'q', seq, 't', now, 'd', data)
end

local function append_event(limits, id, tenant, kind, data)
  local seq = redis.call('HINCRBY', record_key(id), 'ev', 1)
  local log = P .. 'log:' .. id
  redis.call('RPUSH', log, '{"seq":' .. seq .. ',"kind":"' .. kind .. '","at_ms":' .. now .. ',"data":' .. data .. '}')
  if seq > limits.task_events then redis.call('LTRIM', log, -limits.task_events, -1) end
  publish(limits.events, kind, id, tenant, seq, data)
end

local function changed(id)
  redis.call('XADD', CHANGES, '*', 'i', id)
end

local function add_entry(id, route, prio, tenant, body)
  local entry = redis.call('XADD', stream_key(route, prio), '*', 'i', id, 'b', body)
  redis.call('HSET', record_key(id), 'e', entry)
  count('unread', route, prio, 1)
  inflight(tenant, 1)
end

local function under_cap(limits, tenant)
  if limits.tenant_cap == 0 then return true end
  return tonumber(redis.call('HGET', COUNT, 'in:' .. tenant) or '0') < limits.tenant_cap
end

-- Queue a task: straight into the stream while there is room, else behind its tenant's other tasks. Backlogs are
-- streams without a group: compact, and an entry can be read or deleted by its id.
local function place(limits, id, route, prio, tenant, body)
  local ring = ring_key(route, prio)
  if counted('unread', route, prio) < limits.window and under_cap(limits, tenant) and redis.call('EXISTS', ring) == 0 then
    add_entry(id, route, prio, tenant, body)
    return
  end
  local backlog = backlog_key(route, prio, tenant)
  local entry = redis.call('XADD', backlog, '*', 'i', id, 'b', body)
  if redis.call('XLEN', backlog) == 1 then redis.call('RPUSH', ring, tenant) end
  local number = redis.call('HINCRBY', TURN, 'in:' .. route .. ':' .. prio .. ':' .. tenant, 1)
  redis.call('HSET', record_key(id), 'e', entry, 'q', number)
  count('backlog', route, prio, 1)
end

-- After an entry left a backlog: forget the tenant's turn once nothing is left there.
local function backlog_shrunk(route, prio, tenant)
  local backlog = backlog_key(route, prio, tenant)
  count('backlog', route, prio, -1)
  if redis.call('XLEN', backlog) > 0 then return false end
  local turn = route .. ':' .. prio .. ':' .. tenant
  redis.call('DEL', backlog)
  redis.call('HDEL', TURN, 'in:' .. turn, 'out:' .. turn)
  return true
end

-- Move tasks from the tenants' backlogs into the stream, one from each tenant in turn, until `room` entries are unread.
local function refill(limits, route, prio, room)
  local ring = ring_key(route, prio)
  local missing = room - counted('unread', route, prio)
  if missing <= 0 then return end
  local tenants, passed_over = redis.call('LLEN', ring), 0
  while missing > 0 and passed_over < tenants and passed_over < 64 do
    local tenant = redis.call('LPOP', ring)
    if not under_cap(limits, tenant) then
      redis.call('RPUSH', ring, tenant)
      passed_over = passed_over + 1
    else
      local backlog = backlog_key(route, prio, tenant)
      local item = redis.call('XRANGE', backlog, '-', '+', 'COUNT', 1)[1]
      redis.call('XDEL', backlog, item[1])
      redis.call('HINCRBY', TURN, 'out:' .. route .. ':' .. prio .. ':' .. tenant, 1)
      redis.call('HDEL', record_key(item[2][2]), 'q')
      add_entry(item[2][2], route, prio, tenant, item[2][4])
      missing = missing - 1
      passed_over = 0
      if backlog_shrunk(route, prio, tenant) then tenants = tenants - 1
      else redis.call('RPUSH', ring, tenant) end
    end
  end
end

-- Take a task out of its stream; gives its body back.
local function remove_entry(id, route, prio, tenant, entry, was)
  local stream = stream_key(route, prio)
  local found = redis.call('XRANGE', stream, entry, entry)
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
  redis.call('HDEL', record_key(id), 'e')
  count(was, route, prio, -1)
  inflight(tenant, -1)
  if found[1] then return found[1][2][4] end
  return nil
end

-- Take a task that has not begun out of wherever it waits; gives its body back.
local function remove_waiting(id, route, prio, tenant, entry)
  local key = record_key(id)
  if redis.call('HEXISTS', key, 'q') == 0 then return remove_entry(id, route, prio, tenant, entry, 'unread') end
  local backlog = backlog_key(route, prio, tenant)
  local found = redis.call('XRANGE', backlog, entry, entry)[1]
  redis.call('XDEL', backlog, entry)
  redis.call('HDEL', key, 'e', 'q')
  if backlog_shrunk(route, prio, tenant) then redis.call('LREM', ring_key(route, prio), 0, tenant) end
  return found and found[2][4]
end

local function add_history(id, attempt_json)
  local before = redis.call('HGET', record_key(id), 'h')
  redis.call('HSET', record_key(id), 'h', before and (before .. ',' .. attempt_json) or attempt_json)
end

-- Final states. The record stays for `ttl_ms`; the ledger keeps what is to be kept.
local function finish(limits, id, tenant, state, kind, data, fields)
  local key = record_key(id)
  redis.call('HSET', key, 's', state, 'u', now, 'f', now, unpack(fields))
  if state == 'cancelled' then
    redis.call('HSET', key, 'err', cjson.encode({code = 'cancelled', message = cjson.decode(data).reason}))
  end
  redis.call('HDEL', key, 'w', 'q', 'due', 'x')
  redis.call('ZREM', STARTBY, id)
  append_event(limits, id, tenant, kind, data)
  redis.call('PEXPIRE', key, limits.ttl_ms)
  redis.call('PEXPIRE', P .. 'log:' .. id, limits.ttl_ms)
  changed(id)
end

-- Dead letters stay until they are redriven or pruned.
local function bury(limits, id, tenant, route, prio, data, fields)
  finish(limits, id, tenant, 'dead', 'task.dead', data, fields)
  redis.call('PERSIST', record_key(id))
  redis.call('PERSIST', P .. 'log:' .. id)
  redis.call('ZADD', DEAD, now, id)
  count('dead', route, prio, 1)
end

-- ARGV[1..6] are the same for every script.
local limits = {
  window = tonumber(ARGV[1]), tenant_cap = tonumber(ARGV[2]), age_ms = tonumber(ARGV[3]),
  task_events = tonumber(ARGV[4]), events = tonumber(ARGV[5]), ttl_ms = tonumber(ARGV[6]),
}
local A = 7
local ID_LENGTH = 32
