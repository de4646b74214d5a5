-- Shared by every script of the queue. All keys of a partition carry the same hash tag, so a script touches one slot.
-- KEYS[1] is the partition's prefix, e.g. "sophia:{0}". Time is the server's own: workers' clocks may drift.
-- ARGV[1..8] are the same for every script. The seventh lists caps on what runs: "tenant:acme=4,type:web_research=2";
-- the eighth names what is switched off: "events", "changes".

-- What belongs to one call is set by `begin_call`: as a library this file is loaded once, for many calls.
local KEYS, ARGV, A, P, now, NOW, NO_EVENTS, NO_CHANGES
local COUNT, TURN, DUE, LEASES, STARTBY, DEAD, EVENTS, CHANGES, ACCOUNTS
local restored, moved_to, gathered, order, spots, in_flight, touched, lengths, bodies, ahead, accounts_mark
local limits, caps_text = {caps = {}}, ''
local ID_LENGTH = 32
local GROUP = 'workers'
-- `max_attempts` of a record that does not say it.
local MOST_ATTEMPTS = '3'

local function record_key(id) return P .. 't:' .. id end
local function stream_key(route, prio) return P .. 'stream:' .. route .. ':' .. prio end
local function ring_key(route, prio) return P .. 'ring:' .. route .. ':' .. prio end
local function backlog_key(route, prio, tenant) return P .. 'backlog:' .. route .. ':' .. prio .. ':' .. tenant end

-- What many tasks of one call have in common is written once, when it ends (see `run`): counters are added up, and
-- deletions, acknowledgements, leases and ledger changes are gathered by key.
local function tally()
  local hash, stored, added, self = nil, {}, {}, {}
  function self.begin(key) hash, stored, added = key, {}, {} end
  function self.get(name)
    if not stored[name] then stored[name] = tonumber(redis.call('HGET', hash, name) or '0') end
    return stored[name] + (added[name] or 0)
  end
  function self.load(names)
    local values = redis.call('HMGET', hash, unpack(names))
    for n, name in ipairs(names) do stored[name] = tonumber(values[n] or '0') end
  end
  function self.add(name, by) added[name] = (added[name] or 0) + by end
  function self.forget(name)
    redis.call('HDEL', hash, name)
    stored[name], added[name] = nil, nil
  end
  function self.write()
    for name, by in pairs(added) do
      -- What runs is counted under names that come and go with tenants.
      if by ~= 0 and redis.call('HINCRBY', hash, name, by) <= 0 and string.sub(name, 1, 3) == 'in:' then
        redis.call('HDEL', hash, name)
      end
    end
    stored, added = {}, {}
  end
  return self
end
local counts, turns = tally(), tally()

local function gather(command, key, word, another)
  local keys = gathered[command]
  if not keys then keys = {} gathered[command] = keys end
  local words = keys[key]
  if not words then
    words = {command = command, key = key}
    keys[key], order[#order + 1] = words, words
  end
  local n = #words
  words[n + 1], words[n + 2] = word, another
end

local BEFORE = {XACK = {GROUP}, XADD = {'*'}}
local function write_gathered()
  counts.write()
  turns.write()
  -- Entries of tasks that came from a backlog; of those that began in the same call that has written the record.
  for id, entry in pairs(moved_to) do redis.call('HSET', record_key(id), 'e', entry, 'q', '') end
  for _, words in ipairs(order) do
    -- Lua's stack bounds the arguments of one call; a reader of changes takes whole entries.
    local step = words.command == 'XADD' and 128 or 1000
    for first = 1, #words, step do
      local call = {words.command, words.key, unpack(BEFORE[words.command] or {})}
      for n = first, math.min(first + step - 1, #words) do call[#call + 1] = words[n] end
      redis.call(unpack(call))
    end
  end
  gathered, order = {}, {}
end


local function count(kind, route, prio, by) counts.add(kind .. ':' .. route .. ':' .. prio, by) end
local function counted(kind, route, prio) return counts.get(kind .. ':' .. route .. ':' .. prio) end

-- Names that tasks of one lane have in common: making them anew for each task costs as much as a command.
local function spot(route, prio, lane)
  local turn = route .. ':' .. prio .. ':' .. lane
  local found = spots[turn]
  if not found then
    local at = route .. ':' .. prio
    found = {
      turn = turn, number = 'in:' .. turn, unread = 'unread:' .. at, running = 'running:' .. at, behind = 'backlog:' .. at,
      stream = stream_key(route, prio), ring = ring_key(route, prio), backlog = backlog_key(route, prio, lane),
    }
    spots[turn] = found
  end
  return found
end

-- A lane is what waits in one order: a tenant's tasks, or "tenant|type" where the type has a cap of its own.
local function lane_parts(lane)
  local tenant, type = string.match(lane, '^([^|]*)|(.*)$')
  return tenant or lane, type
end

local function lane_in_flight(lane, by)
  local names = in_flight[lane]
  if not names then
    local tenant, type = lane_parts(lane)
    names = {'in:tenant:' .. tenant, type and ('in:type:' .. type)}
    in_flight[lane] = names
  end
  counts.add(names[1], by)
  if names[2] then counts.add(names[2], by) end
end

-- The platform's log. A task's own log is written beside it, except its first event, which the record already tells:
-- changes of state in the record ('lg'), which is written anyway, and what attempts emit in a list.
local function publish(events_max, kind, id, tenant, seq, data)
  if NO_EVENTS then return end
  -- One field: every further one costs as much as the rest of the script. The time is that of the entry.
  redis.call('XADD', EVENTS, 'MAXLEN', '~', events_max, '*',
    'e', kind .. '\n' .. id .. '\n' .. tenant .. '\n' .. seq .. '\n\n' .. data)
end

local function log_line(kind, data, seq)
  return '{"seq":' .. seq .. ',"kind":"' .. kind .. '","at_ms":' .. NOW .. ',"data":' .. data .. '}'
end

local function longer(list, item) return list and list ~= '' and (list .. ',' .. item) or item end

-- A change of state. `ev` and `lg` are the record's; gives them anew, to be written with the rest of it.
local function transition(limits, id, tenant, kind, data, ev, lg)
  local seq = tonumber(ev or 1)
  if NO_EVENTS then return seq, lg or '' end
  publish(limits.events, kind, id, tenant, seq + 1, data)
  return seq + 1, longer(lg, log_line(kind, data, seq + 1))
end

local function append_event(limits, id, tenant, kind, data)
  local r = redis.call('HMGET', record_key(id), 'ev', 'lg')
  local ev, lg = transition(limits, id, tenant, kind, data, r[1], r[2])
  redis.call('HSET', record_key(id), 'ev', ev, 'lg', lg)
end

local function changed(id)
  if NO_CHANGES or touched[id] then return end
  touched[id] = true
  gather('XADD', CHANGES, id, '')
end

-- An entry is the task's body, which begins with the task's id. Gives nothing where there is none.
local function entry_id(fields)
  local body = fields and #fields == 2 and fields[1] == 'b' and fields[2]
  if body and string.sub(body, 1, 2) == '["' and string.sub(body, 3 + ID_LENGTH, 3 + ID_LENGTH) == '"' then
    return string.sub(body, 3, 2 + ID_LENGTH), body
  end
end

-- Gives the entry's id for the record ('e').
local function add_entry(route, prio, lane, body)
  local here = spot(route, prio, lane)
  counts.add(here.unread, 1)
  lane_in_flight(lane, 1)
  return redis.call('XADD', here.stream, '*', 'b', body)
end

local function below(name, cap)
  return not cap or counts.get('in:' .. name) < cap
end

local function under_cap(limits, lane)
  if not limits.capped then return true end
  local tenant, type = lane_parts(lane)
  return below('tenant:' .. tenant, limits.caps['tenant:' .. tenant] or limits.tenant_cap)
    and (not type or below('type:' .. type, limits.caps['type:' .. type]))
end

local function length(command, key)
  if not lengths[key] then lengths[key] = redis.call(command, key) end
  return lengths[key]
end

-- Queue a task: straight into the stream while there is room, else behind its lane's other tasks. Backlogs are
-- streams without a group: compact, and an entry can be read or deleted by its id, which is its number within the lane.
-- Gives what the record has to hold: the entry ('e', '' in a backlog) and that number ('q', '' in the stream).
local function place(limits, route, prio, lane, body)
  local here = spot(route, prio, lane)
  local backlog = here.backlog
  if counts.get(here.unread) < limits.window and under_cap(limits, lane) and length('LLEN', here.ring) == 0 then
    return add_entry(route, prio, lane, body), ''
  end
  if length('XLEN', backlog) == 0 then lengths[here.ring] = redis.call('RPUSH', here.ring, lane) end
  lengths[backlog] = lengths[backlog] + 1
  counts.add(here.behind, 1)
  turns.add(here.number, 1)
  local number = string.format('%d', turns.get(here.number))
  redis.call('XADD', backlog, '0-' .. number, 'b', body)
  return '', number
end

-- Take entries out of a backlog; forgets the lane's turn, and says so, once nothing is left there.
local function drop(route, prio, lane, entries)
  local backlog = backlog_key(route, prio, lane)
  count('backlog', route, prio, -#entries)
  lengths[backlog] = length('XLEN', backlog) - #entries
  if lengths[backlog] > 0 then
    redis.call('XDEL', backlog, unpack(entries))
    return false
  end
  local turn = route .. ':' .. prio .. ':' .. lane
  redis.call('DEL', backlog)
  turns.forget('in:' .. turn)
  turns.forget('out:' .. turn)
  return true
end

-- Reads a lane's backlog some entries at a time; gives one after the other.
local function reader(backlog, some)
  local items, at = {}, 0
  return function()
    if at == #items then
      local from = at > 0 and '(' .. items[at][1] or '-'
      items, at = redis.call('XRANGE', backlog, from, '+', 'COUNT', some), 0
      if #items == 0 then return nil end
    end
    at = at + 1
    return items[at]
  end
end

-- Move tasks from the backlogs into the stream, one from each lane in turn, until `room` entries are unread.
local function refill(limits, route, prio, room)
  local missing = room - counted('unread', route, prio)
  if missing <= 0 or counted('backlog', route, prio) <= 0 then return end
  local ring = ring_key(route, prio)
  local line = redis.call('LRANGE', ring, 0, limits.capped and 63 or math.min(missing, 64) - 1)
  local seen, first, passed_over = #line, 1, 0
  if seen == 0 then return end
  local some, readers, moved = math.ceil(missing / seen), {}, {}
  while missing > 0 and passed_over <= #line - first do
    local lane = line[first]
    first = first + 1
    if under_cap(limits, lane) then
      passed_over = 0
      readers[lane] = readers[lane] or reader(backlog_key(route, prio, lane), some)
      local item = readers[lane]()
      if item then
        local id, entry = entry_id(item[2]), add_entry(route, prio, lane, item[2][2])
        if id then moved_to[id] = entry end
        moved[lane] = moved[lane] or {}
        table.insert(moved[lane], item[1])
        missing = missing - 1
        line[#line + 1] = lane
      end
    else
      passed_over = passed_over + 1
      line[#line + 1] = lane
    end
  end
  if not next(moved) then return end
  local empty = {}
  for lane, entries in pairs(moved) do
    turns.add('out:' .. route .. ':' .. prio .. ':' .. lane, #entries)
    empty[lane] = drop(route, prio, lane, entries)
  end
  local behind = {}
  for n = first, #line do
    if not empty[line[n]] then behind[#behind + 1] = line[n] end
  end
  if length('LLEN', ring) > 1 or #behind == 0 then
    redis.call('LTRIM', ring, seen, -1)
    if #behind > 0 then redis.call('RPUSH', ring, unpack(behind)) end
    lengths[ring] = nil
  end
end

-- Bodies by stream and entry. Attempts that are settled together mostly began together, so what lies behind one is read
-- with it, as long as that proves right.
local function body_of(stream, entry, more)
  local read = bodies[stream]
  if read and read[entry] then
    read.hits = read.hits + 1
    return read[entry]
  end
  if read and read.hits * 2 < read.size then ahead = 1 end
  local some = math.max(1, math.min(ahead, more or 1))
  local found = redis.call('XRANGE', stream, entry, some > 1 and '+' or entry, 'COUNT', some)
  read = {hits = 1, size = #found}
  for _, item in ipairs(found) do read[item[1]] = item[2][2] end
  bodies[stream] = read
  return read[entry]
end

-- Take a task out of its stream; gives its body back. `more` tasks of this call may be found behind it.
local function remove_entry(route, prio, lane, entry, was, more)
  local here = spot(route, prio, lane)
  local body = body_of(here.stream, entry, more)
  gather('XACK', here.stream, entry)
  gather('XDEL', here.stream, entry)
  counts.add(here[was], -1)
  lane_in_flight(lane, -1)
  return body
end

-- An entry that is not ours to decode never blocks the stream: it is kept aside and acknowledged.
local function set_aside(route, prio, entry, fields)
  local stream = stream_key(route, prio)
  redis.call('XADD', P .. 'poison', 'MAXLEN', '~', 1000, '*', 'stream', stream, 'entry', entry,
    'fields', cjson.encode(fields))
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
end

-- Take a task that has not begun out of wherever it waits; gives its body back.
local function remove_waiting(id, route, prio, lane, entry)
  local number = redis.call('HGET', record_key(id), 'q') or ''
  if number == '' then
    return remove_entry(route, prio, lane, entry, 'unread')
  end
  local backlog = backlog_key(route, prio, lane)
  entry = '0-' .. number
  local found = redis.call('XRANGE', backlog, entry, entry)[1]
  if found and drop(route, prio, lane, {entry}) then
    redis.call('LREM', ring_key(route, prio), 0, lane)
    lengths[ring_key(route, prio)] = nil
  end
  return found and found[2][2]
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

-- A task that waits again has to start by its deadline again.
local function start_by(id, deadline)
  if deadline then redis.call('ZADD', STARTBY, deadline, id) end
end

-- Final states. The record stays for `ttl_ms` (a dead letter until it is redriven); the ledger keeps what is to be kept.
-- `known` are fields of the record that the caller has read: ev, lg, lo, d, x, bd, due.
local function finish(limits, id, tenant, state, kind, data, fields, known)
  local key = record_key(id)
  if not known then
    local r = redis.call('HMGET', key, 'ev', 'd', 'x', 'bd', 'due', 'lg', 'lo')
    known = {ev = r[1], d = r[2], x = r[3], bd = r[4], due = r[5], lg = r[6], lo = r[7]}
  end
  local ev, lg = transition(limits, id, tenant, kind, data, known.ev, known.lg)
  if state == 'cancelled' then
    fields[#fields + 1] = 'err'
    fields[#fields + 1] = cjson.encode({code = 'cancelled', message = cjson.decode(data).reason})
  end
  redis.call('HSET', key, 's', state, 'u', NOW, 'f', NOW, 'ev', ev, 'lg', lg, unpack(fields))
  if known.x or known.due then redis.call('HDEL', key, 'x', 'due') end
  if known.d then gather('ZREM', STARTBY, id) end
  if known.bd then spend(id, tenant, 0, 0, true) end
  if state ~= 'dead' then
    redis.call('PEXPIRE', key, limits.ttl_ms)
    if known.lo then redis.call('PEXPIRE', P .. 'log:' .. id, limits.ttl_ms) end
  end
  changed(id)
end

local function bury(limits, id, tenant, route, prio, data, fields, known)
  finish(limits, id, tenant, 'dead', 'task.dead', data, fields, known)
  redis.call('ZADD', DEAD, now, id)
  count('dead', route, prio, 1)
end

local function begin_call(keys, argv)
  KEYS, ARGV, A = keys, argv, 9
  limits.window, limits.tenant_cap, limits.age_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
  limits.task_events, limits.events, limits.ttl_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  if limits.tenant_cap == 0 then limits.tenant_cap = nil end
  limits.capped = limits.tenant_cap ~= nil or ARGV[7] ~= ''
  if ARGV[7] ~= caps_text then
    caps_text, limits.caps = ARGV[7], {}
    for name, cap in string.gmatch(caps_text, '([^=,]+)=(%d+)') do limits.caps[name] = tonumber(cap) end
  end
  NO_EVENTS, NO_CHANGES = string.find(ARGV[8], 'events'), string.find(ARGV[8], 'changes')
  P = KEYS[1] .. ':'
  COUNT, TURN, DUE, LEASES, STARTBY = P .. 'count', P .. 'turn', P .. 'due', P .. 'leases', P .. 'startby'
  DEAD, EVENTS, CHANGES, ACCOUNTS = P .. 'dead', P .. 'events', P .. 'changes', P .. 'accounts'
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  NOW = string.format('%d', now)
  restored, moved_to, gathered, order, spots, in_flight = {}, {}, {}, {}, {}, {}
  touched, lengths, bodies, ahead, accounts_mark = {}, {}, {}, 16, nil
  counts.begin(COUNT)
  turns.begin(TURN)
end

-- What was gathered is written after an error too.
local function run(main, keys, argv)
  begin_call(keys, argv)
  local fine, answer = pcall(main)
  write_gathered()
  if fine or type(answer) == 'table' then return answer end
  return redis.error_reply(answer)
end
