-- One bounded pass. ARGV: limit, 1 to look for deliveries that were never begun (2: also where no task is known to
-- wait, since what is no task of ours is counted nowhere), ms after which such a one is lost,
-- then all routes. Gives {promoted, reclaimed, expired, dead, ms until the next known moment or -1, 1 while the accounts
-- of budgets are open}.
local limit, orphans, orphan_ms = tonumber(ARGV[A]), tonumber(ARGV[A + 1]), ARGV[A + 2]
local promoted, reclaimed, expired, dead = 0, 0, 0, 0

local function ready(zset)
  return redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, limit)
end

local left = {}
for _, id in ipairs(ready(STARTBY)) do
  redis.call('ZREM', STARTBY, id)
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'n', 'r', 'p', 'e', 'l')
  local state = r[1]
  if state == 'queued' or state == 'scheduled' or state == 'retrying' then
    local fields = {}
    if state ~= 'queued' then
      redis.call('ZREM', DUE, id)
      count(state, r[3], r[4], -1)
    else
      fields = {'b', remove_waiting(id, r[3], r[4], r[6] or r[2], r[5]) or ''}
      left[r[3] .. ':' .. r[4]] = {r[3], r[4]}
    end
    local err = '{"code":"deadline_exceeded","message":"it could not start before its deadline","error_class":"permanent"}'
    fields[#fields + 1] = 'err'
    fields[#fields + 1] = err
    finish(limits, id, r[2], 'failed', 'task.failed', '{"error":' .. err .. '}', fields)
    expired = expired + 1
  end
end
-- Workers wait at the stream: what was behind them in the backlogs takes their place.
for _, at in pairs(left) do refill(limits, at[1], at[2], limits.window) end

for _, id in ipairs(ready(DUE)) do
  redis.call('ZREM', DUE, id)
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'n', 'r', 'p', 'b', 'l')
  if r[1] == 'scheduled' or r[1] == 'retrying' then
    count(r[1], r[3], r[4], -1)
    local entry, number = place(limits, r[3], r[4], r[6] or r[2], r[5])
    redis.call('HSET', key, 's', 'queued', 'u', now, 'e', entry, 'q', number)
    redis.call('HDEL', key, 'b', 'due')
    append_event(limits, id, r[2], 'task.queued', '{"from":"' .. r[1] .. '"}')
    changed(id)
    promoted = promoted + 1
  end
end

for _, id in ipairs(ready(LEASES)) do
  redis.call('ZREM', LEASES, id)
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'n', 'r', 'p', 'e', 'a', 'c', 'm', 'w', 'pl', 'st', 'x', 'l', 'h', 'd')
  if r[1] == 'running' then
    local tenant, route, prio, attempt = r[2], r[3], r[4], r[6]
    local lane = r[13] or tenant
    local err = '{"code":"worker_lost","message":' .. cjson.encode('worker ' .. r[9] .. ' stopped answering')
      .. ',"error_class":"retryable"}'
    local body = remove_entry(route, prio, lane, r[5], 'running') or ''
    local history = longer(r[14], '{"number":' .. attempt .. ',"worker":' .. cjson.encode(r[9]) .. ',"pool":' .. cjson.encode(r[10])
      .. ',"started_at_ms":' .. r[11] .. ',"ended_at_ms":' .. now .. ',"outcome":"lost","error":' .. err .. '}')
    local data = '{"attempt":' .. attempt .. ',"error":' .. err .. '}'
    if r[12] then
      finish(limits, id, tenant, 'cancelled', 'task.cancelled', '{"reason":' .. cjson.encode(r[12]) .. '}',
        {'b', body, 'h', history})
    elseif tonumber(r[7]) >= tonumber(r[8] or MOST_ATTEMPTS) then
      bury(limits, id, tenant, route, prio, data, {'b', body, 'err', err, 'h', history})
      dead = dead + 1
    else
      redis.call('HSET', key, 's', 'queued', 'u', now, 'err', err, 'h', history,
        'e', add_entry(route, prio, lane, body), 'q', '')
      start_by(id, r[15])
      append_event(limits, id, tenant, 'task.retrying', '{"attempt":' .. attempt .. ',"retry_in_s":0,"error":' .. err .. '}')
      changed(id)
      reclaimed = reclaimed + 1
    end
  end
end

-- A worker that died between a blocking read and the begin of the attempt leaves an entry pending without a lease.
local places, names = {}, {}
if orphans > 0 then
  for i = A + 3, #ARGV do
    for prio = 0, 3 do
      places[#places + 1] = {ARGV[i], prio}
      names[#names + 1] = 'unread:' .. ARGV[i] .. ':' .. prio
      names[#names + 1] = 'scan:' .. ARGV[i] .. ':' .. prio
    end
  end
end
if names[1] then
  local known = redis.call('HMGET', COUNT, unpack(names))
  for n, at in ipairs(places) do
    local route, prio, mark, from = at[1], at[2], names[2 * n], known[2 * n]
    if orphans == 2 or from or tonumber(known[2 * n - 1] or '0') > 0 then
      local stream = stream_key(route, prio)
      -- A stream that no worker has asked for yet has no group; an error here would end a script that has written.
      local pending = redis.pcall('XPENDING', stream, GROUP, 'IDLE', orphan_ms, from and ('(' .. from) or '-', '+', limit)
      if pending.err then pending = {} end
      for _, p in ipairs(pending) do
        local entry = p[1]
        local item = redis.call('XRANGE', stream, entry, entry)
        local id = item[1] and entry_id(item[1][2])
        local r = id and redis.call('HMGET', record_key(id), 's', 'n', 'e', 'l') or {}
        if r[1] == 'queued' and r[3] == entry then
          local lane = r[4] or r[2]
          local body = remove_entry(route, prio, lane, entry, 'unread')
          redis.call('HSET', record_key(id), 'e', add_entry(route, prio, lane, body))
          reclaimed = reclaimed + 1
        elseif item[1] and not r[1] then
          set_aside(route, prio, entry, item[1][2])
        elseif r[3] ~= entry then
          redis.call('XACK', stream, GROUP, entry)
          redis.call('XDEL', stream, entry)
        end
      end
      -- Go on behind the last one next time; start over after the end.
      if #pending == limit then redis.call('HSET', COUNT, mark, pending[#pending][1])
      elseif from then redis.call('HDEL', COUNT, mark) end
    end
  end
end

-- A cap that was freed on one route may hold up tasks of the same tenant or type on another.
if limits.capped then
  for i = A + 3, #ARGV do
    for prio = 0, 3 do refill(limits, ARGV[i], prio, limits.window) end
  end
end

local next_ms = -1
for _, zset in ipairs({DUE, LEASES, STARTBY}) do
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  if first[2] then
    local wait = math.max(0, tonumber(first[2]) - now)
    if next_ms < 0 or wait < next_ms then next_ms = wait end
  end
end
return {promoted, reclaimed, expired, dead, next_ms, redis.call('GET', P .. 'accounts') == 'open' and 1 or 0}
