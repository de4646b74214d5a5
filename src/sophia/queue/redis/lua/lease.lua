-- Begin attempts. ARGV: worker, pool, lease_ms, count, the call's own name (see `adopt.lua`), number of entries already
-- read with a blocking read, those as (route, priority, entry id, task id), then the routes to serve.
-- Gives {task id, attempt, counted attempts, body ('' when the caller has it), now, earlier attempts} each.
local worker, pool, lease_ms, want = ARGV[A], ARGV[A + 1], tonumber(ARGV[A + 2]), tonumber(ARGV[A + 3])
local call_name, given = ARGV[A + 4], tonumber(ARGV[A + 5])
local taken, drawn = {}, {}
local by_worker = ',"worker":' .. cjson.encode(worker) .. ',"pool":' .. cjson.encode(pool) .. '}'

-- Gives false for an entry that belongs to no task.
local function begin(route, prio, entry, id, body)
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'e', 'n', 'd', 'h', 'l', 'a', 'c', 'ev', 'lg')
  if not r[1] then return false end
  -- Cancelled or moved meanwhile: whoever did that has taken the entry out and counted it.
  if r[1] ~= 'queued' or (moved_to[id] or r[2]) ~= entry then return true end
  moved_to[id] = nil
  local tenant, deadline = r[3], tonumber(r[4] or '0')
  if deadline > 0 then
    if deadline < now then
      local kept = remove_entry(route, prio, r[6] or tenant, entry, 'unread')
      local err = '{"code":"deadline_exceeded","message":"it could not start before its deadline","error_class":"permanent"}'
      finish(limits, id, tenant, 'failed', 'task.failed', '{"error":' .. err .. '}', {'err', err, 'b', kept or ''})
      return true
    end
    gather('ZREM', STARTBY, id)
  end
  local attempt, counted_attempts = tonumber(r[7] or 0) + 1, tonumber(r[8] or 0) + 1
  local ev, lg = transition(limits, id, tenant, 'task.running', '{"attempt":' .. attempt .. by_worker, r[9], r[10])
  redis.call('HSET', key, 's', 'running', 'w', worker, 'pl', pool, 'st', NOW, 'u', NOW, 'a', attempt,
    'c', counted_attempts, 'e', entry, 'q', '', 'lc', call_name, 'ev', ev, 'lg', lg)
  gather('ZADD', LEASES, now + lease_ms, id)
  count('unread', route, prio, -1)
  count('running', route, prio, 1)
  changed(id)
  taken[#taken + 1] = {id, attempt, counted_attempts, body, now, r[5] or ''}
  return true
end

-- Entries are read in order; but one that came with a blocking read may be begun after later ones.
local function seen(route, prio, entry)
  local name = 'seen:' .. route .. ':' .. prio
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  local last_ms, last = string.match(redis.call('HGET', COUNT, name) or '0-0', '^(%d+)-(%d+)$')
  ms, number, last_ms, last = tonumber(ms), tonumber(number), tonumber(last_ms), tonumber(last)
  if ms > last_ms or (ms == last_ms and number > last) then redis.call('HSET', COUNT, name, entry) end
  drawn[route .. ':' .. prio] = {route, prio}
end

-- Other workers may wait at the stream for what is still in the backlogs.
local function replenish()
  for _, at in pairs(drawn) do refill(limits, at[1], at[2], limits.window) end
  return taken
end

local function take(route, prio, n)
  refill(limits, route, prio, n)
  -- After a blocking read there can be no entry that is not counted.
  if given > 0 and counted('unread', route, prio) <= 0 then return end
  local stream = stream_key(route, prio)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', n, 'STREAMS', stream, '>')
  if not read or not read[1] then return end
  for _, item in ipairs(read[1][2]) do
    local entry, f = item[1], item[2]
    local id, body = entry_id(f)
    if not (id and begin(route, prio, entry, id, body)) then
      set_aside(route, prio, entry, f or {})
    end
  end
  seen(route, prio, read[1][2][#read[1][2]][1])
end

-- Age in ms of the oldest unread entry.
local function waiting_ms(route, prio)
  if counted('unread', route, prio) <= 0 then return 0 end
  local after = redis.call('HGET', COUNT, 'seen:' .. route .. ':' .. prio) or '0-0'
  local first = redis.call('XRANGE', stream_key(route, prio), '(' .. after, '+', 'COUNT', 1)
  if not first[1] then return 0 end
  return now - tonumber(string.match(first[1][1], '^(%d+)'))
end

local at = A + 6
for i = 1, given do
  local route, prio, entry, id = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if not begin(route, prio, entry, id, '') then
    local item = redis.call('XRANGE', stream_key(route, prio), entry, entry)[1]
    set_aside(route, prio, entry, item and item[2] or {})
  end
  seen(route, prio, entry)
  at = at + 4
end
local routes = {}
for i = at, #ARGV do routes[#routes + 1] = ARGV[i] end
if #routes == 0 or #taken >= want then return replenish() end

-- Ageing: of what can be leased now, up to half goes to those who waited too long, whatever their priority.
local names = {'turn'}
for _, route in ipairs(routes) do
  for prio = 0, 3 do
    names[#names + 1] = 'unread:' .. route .. ':' .. prio
    names[#names + 1] = 'backlog:' .. route .. ':' .. prio
  end
end
counts.load(names)
counts.add('turn', 1)
local turn = counts.get('turn')
local for_aged = math.floor((want - #taken) / 2)
if for_aged == 0 and turn % 2 == 0 then for_aged = want - #taken end
local limit = #taken + for_aged
for prio = 3, 1, -1 do
  for _, route in ipairs(routes) do
    while #taken < limit and waiting_ms(route, prio) > limits.age_ms do
      local before = #taken
      take(route, prio, 1)
      if #taken == before then break end
    end
  end
end
for prio = 0, 3 do
  for i = 1, #routes do
    -- Routes of one priority take turns at being first.
    local route = routes[(i + turn) % #routes + 1]
    if #taken < want then take(route, prio, want - #taken) end
  end
end
return replenish()
