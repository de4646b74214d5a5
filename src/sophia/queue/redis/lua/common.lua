-- Shared by every script of the queue. All keys of a partition carry the same hash tag, so a script touches one slot.
-- KEYS[1] is the partition's prefix, e.g. "sophia:{0}". Time is the server's own: workers' clocks may drift.
-- ARGV[1..8] are the same for every script. The seventh lists caps on what runs: "tenant:acme=4,type:web_research=2";
-- the eighth names what is switched off: "events", "changes".
local limits = {
  window = tonumber(ARGV[1]), tenant_cap = tonumber(ARGV[2]), age_ms = tonumber(ARGV[3]),
  task_events = tonumber(ARGV[4]), events = tonumber(ARGV[5]), ttl_ms = tonumber(ARGV[6]), caps = {},
}
if limits.tenant_cap == 0 then limits.tenant_cap = nil end
limits.capped = limits.tenant_cap ~= nil or ARGV[7] ~= ''
if ARGV[7] ~= '' then
  for name, cap in string.gmatch(ARGV[7], '([^=,]+)=(%d+)') do limits.caps[name] = tonumber(cap) end
end
local NO_EVENTS, NO_CHANGES = string.find(ARGV[8], 'events'), string.find(ARGV[8], 'changes')
local A = 9
local ID_LENGTH = 32
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

local function in_flight(name, by)
  if redis.call('HINCRBY', COUNT, 'in:' .. name, by) <= 0 then redis.call('HDEL', COUNT, 'in:' .. name) end
end

-- A lane is what waits in one order: a tenant's tasks, or "tenant|type" where the type has a cap of its own.
local function lane_parts(lane)
  local tenant, type = string.match(lane, '^([^|]*)|(.*)$')
  return tenant or lane, type
end

local function lane_in_flight(lane, by)
  local tenant, type = lane_parts(lane)
  in_flight('tenant:' .. tenant, by)
  if type then in_flight('type:' .. type, by) end
end

-- The platform's log. A task's own log is written beside it, except its first event, which the record already tells.
local function publish(events_max, kind, id, tenant, seq, data)
  if NO_EVENTS then return end
  redis.call('XADD', EVENTS, 'MAXLEN', '~', events_max, '*',
    'k', kind, 's', id, 'n', tenant, 'q', seq, 't', now, 'd', data)
end

local function append_event(limits, id, tenant, kind, data)
  if NO_EVENTS then return end
  local seq = redis.call('HINCRBY', record_key(id), 'ev', 1)
  local log = P .. 'log:' .. id
  redis.call('RPUSH', log, '{"seq":' .. seq .. ',"kind":"' .. kind .. '","at_ms":' .. now .. ',"data":' .. data .. '}')
  if seq > limits.task_events then redis.call('LTRIM', log, -limits.task_events, -1) end
  publish(limits.events, kind, id, tenant, seq, data)
end

local function changed(id)
  if NO_CHANGES then return end
  redis.call('XADD', CHANGES, '*', 'i', id)
end

local function add_entry(id, route, prio, lane, body)
  local entry = redis.call('XADD', stream_key(route, prio), '*', 'i', id, 'b', body)
  redis.call('HSET', record_key(id), 'e', entry)
  count('unread', route, prio, 1)
  lane_in_flight(lane, 1)
end

local function below(name, cap)
  return not cap or tonumber(redis.call('HGET', COUNT, 'in:' .. name) or '0') < cap
end

local function under_cap(limits, lane)
  if not limits.capped then return true end
  local tenant, type = lane_parts(lane)
  return below('tenant:' .. tenant, limits.caps['tenant:' .. tenant] or limits.tenant_cap)
    and (not type or below('type:' .. type, limits.caps['type:' .. type]))
end

-- Queue a task: straight into the stream while there is room, else behind its lane's other tasks. Backlogs are
-- streams without a group: compact, and an entry can be read or deleted by its id.
local function place(limits, id, route, prio, lane, body)
  local ring = ring_key(route, prio)
  if counted('unread', route, prio) < limits.window and under_cap(limits, lane) and redis.call('EXISTS', ring) == 0 then
    add_entry(id, route, prio, lane, body)
    return
  end
  local backlog = backlog_key(route, prio, lane)
  local entry = redis.call('XADD', backlog, '*', 'i', id, 'b', body)
  if redis.call('XLEN', backlog) == 1 then redis.call('RPUSH', ring, lane) end
  local number = redis.call('HINCRBY', TURN, 'in:' .. route .. ':' .. prio .. ':' .. lane, 1)
  redis.call('HSET', record_key(id), 'e', entry, 'q', number)
  count('backlog', route, prio, 1)
end

-- After an entry left a backlog: forget the lane's turn once nothing is left there.
local function backlog_shrunk(route, prio, lane)
  local backlog = backlog_key(route, prio, lane)
  count('backlog', route, prio, -1)
  if redis.call('XLEN', backlog) > 0 then return false end
  local turn = route .. ':' .. prio .. ':' .. lane
  redis.call('DEL', backlog)
  redis.call('HDEL', TURN, 'in:' .. turn, 'out:' .. turn)
  return true
end

-- Move tasks from the backlogs into the stream, one from each lane in turn, until `room` entries are unread.
local function refill(limits, route, prio, room)
  local ring = ring_key(route, prio)
  local missing = room - counted('unread', route, prio)
  if missing <= 0 then return end
  local lanes, passed_over = redis.call('LLEN', ring), 0
  while missing > 0 and passed_over < lanes and passed_over < 64 do
    local lane = redis.call('LPOP', ring)
    if not under_cap(limits, lane) then
      redis.call('RPUSH', ring, lane)
      passed_over = passed_over + 1
    else
      local backlog = backlog_key(route, prio, lane)
      local item = redis.call('XRANGE', backlog, '-', '+', 'COUNT', 1)[1]
      redis.call('XDEL', backlog, item[1])
      redis.call('HINCRBY', TURN, 'out:' .. route .. ':' .. prio .. ':' .. lane, 1)
      redis.call('HDEL', record_key(item[2][2]), 'q')
      add_entry(item[2][2], route, prio, lane, item[2][4])
      missing = missing - 1
      passed_over = 0
      if backlog_shrunk(route, prio, lane) then lanes = lanes - 1
      else redis.call('RPUSH', ring, lane) end
    end
  end
end

-- Take a task out of its stream; gives its body back.
local function remove_entry(id, route, prio, lane, entry, was)
  local stream = stream_key(route, prio)
  local found = redis.call('XRANGE', stream, entry, entry)
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
  redis.call('HDEL', record_key(id), 'e')
  count(was, route, prio, -1)
  lane_in_flight(lane, -1)
  if found[1] then return found[1][2][4] end
  return nil
end

-- Take a task that has not begun out of wherever it waits; gives its body back.
local function remove_waiting(id, route, prio, lane, entry)
  local key = record_key(id)
  if redis.call('HEXISTS', key, 'q') == 0 then return remove_entry(id, route, prio, lane, entry, 'unread') end
  local backlog = backlog_key(route, prio, lane)
  local found = redis.call('XRANGE', backlog, entry, entry)[1]
  redis.call('XDEL', backlog, entry)
  redis.call('HDEL', key, 'e', 'q')
  if backlog_shrunk(route, prio, lane) then redis.call('LREM', ring_key(route, prio), 0, lane) end
  return found and found[2][4]
end

-- Budgets. A task that was admitted against one holds a reservation ('ru' nano-dollars, 'rt' tokens) in the day and the
-- month of its admission ('bd'); what its attempts spend is counted there, and what is left of it is given back.
local function spend_key(tenant, period) return P .. 'spend:' .. tenant .. ':' .. period end

local function spend(id, tenant, usd, tokens, final)
  local key = record_key(id)
  local r = redis.call('HMGET', key, 'bd', 'ru', 'rt')
  if not r[1] then return end
  local held_usd, held_tokens = tonumber(r[2]), tonumber(r[3])
  local back_usd = final and held_usd or math.min(held_usd, usd)
  local back_tokens = final and held_tokens or math.min(held_tokens, tokens)
  for _, period in ipairs({r[1], string.sub(r[1], 1, 7)}) do
    local account = spend_key(tenant, period)
    redis.call('HINCRBY', account, 'usd', string.format('%d', usd))
    redis.call('HINCRBY', account, 'tok', string.format('%d', tokens))
    redis.call('HINCRBY', account, 'rusd', string.format('%d', -back_usd))
    redis.call('HINCRBY', account, 'rtok', string.format('%d', -back_tokens))
  end
  redis.call('HSET', key, 'ru', string.format('%d', held_usd - back_usd),
    'rt', string.format('%d', held_tokens - back_tokens))
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
  spend(id, tenant, 0, 0, true)
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
